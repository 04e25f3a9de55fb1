"""The shape that a message of a task must have before Celery looks at it.

Celery takes the parts of a message as they are. One of another kind is met deep inside the worker, where
it ends the process, or leaves the message unanswered so that its place is never free again.

Invariant: what passes here has every part of the kind that Celery itself writes.
"""

from __future__ import annotations

from typing import Annotated, Any

from kombu.exceptions import KombuError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from celery_app.errors import Unsealed
from workflows.problem import shown
from workflows.storable import Name, Text, shape_fault

__all__ = ["check_shape"]

_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
_Count = Annotated[int, Field(ge=0, lt=2**31)] | None


class _Part(BaseModel):
    # Celery, its plugins and users add parts of their own.
    model_config = ConfigDict(extra="ignore", strict=True)


class _Headers(_Part):
    task: Name
    id: Name
    root_id: Name | None = None
    parent_id: Name | None = None
    group: Name | None = None
    group_index: _Count = None
    retries: _Count = None
    eta: Name | None = None
    expires: float | Name | None = None
    timelimit: Annotated[list[_Number], Field(min_length=2, max_length=2)] | None = None
    shadow: Name | None = None
    argsrepr: Text | None = None
    kwargsrepr: Text | None = None
    origin: Text | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: _Count = None
    stamped_headers: list[Name] | None = None
    stamps: dict[Name, Any] | None = None


class _Options(_Part):
    task_id: Name | None = None
    group_id: Name | None = None
    queue: Name | None = None
    priority: _Count = None
    headers: dict[Name, Any] | None = None


class _Members(_Part):
    tasks: list[_Signature] = []


class _Signature(_Part):  # type: ignore[no-redef] # of the plugin: an alias is named kwargs
    task: Name
    args: list[Any] = []
    members: _Members | None = Field(None, alias="kwargs")
    options: _Options | None = None


class _Embedded(_Part):
    callbacks: list[_Signature] | None = None
    errbacks: list[_Signature] | None = None
    chain: list[_Signature] | None = None
    chord: _Signature | None = None


_BODY = TypeAdapter(tuple[list[Any], dict[Name, Any], _Embedded])


def check_shape(message: Any) -> None:
    """Make sure that a message of a task has the shape of one. Raises ValueError that names the part."""
    headers = message.headers
    if "task" not in headers:
        # Celery has an answer to what is no task of its second protocol.
        return
    _check("headers", _Headers.model_validate, headers)
    try:
        body = message.payload
    except (KombuError, Unsealed):
        # It has one to what cannot be read, too.
        return
    if fault := shape_fault(body):
        raise ValueError(f"body: {fault}")
    _check("body", _BODY.validate_python, tuple(body) if isinstance(body, list) else body)


def _check(name: str, validate: Any, value: Any) -> None:
    try:
        validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part)[:60] for part in (name, *fault["loc"]))
        raise ValueError(f"{place} is {shown(fault['input'])}: {fault['msg']}") from None
