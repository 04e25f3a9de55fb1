"""The inputs of a workflow as the fields of a form, and what was written into them as values.

Invariant: a field that is left empty is not given, except a text that has a default: there nothing is what
somebody may want.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workflows.errors import InvalidInputs
from workflows.json_text import read_json
from workflows.workflow import Workflow

__all__ = ["Field", "fields_of", "given"]

Kind = Literal["text", "number", "integer", "choice", "json"]
_PREFIX = "input."
_NUMBERS: dict[Any, Kind] = {"number": "number", "integer": "integer"}


@dataclass(frozen=True)
class Field:
    """A field: how it is asked for, and what stands in it.

    Attributes:
        name: The input.
        key: What the form calls it.
        kind: How it is written: `choice` has `options`, which are JSON as the value of a choice is.
        about: What the schema says of it, for people.
        value: What stands in it, as text.
        required: Whether it must be given.
        options: What can be chosen.
    """

    name: str
    key: str
    kind: Kind
    about: str
    value: str
    required: bool
    options: tuple[str, ...] = ()


def fields_of(workflow: Workflow, form: Mapping[str, str] | None = None) -> list[Field]:
    """Return the fields of a workflow's inputs, as somebody has filled them in or with the defaults."""
    return [_field(name, schema, form) for name, schema in workflow.inputs.items()]


def given(workflow: Workflow, form: Mapping[str, str]) -> dict[str, Any]:
    """Return what a form gives for the inputs of a workflow.

    Raises:
        InvalidInputs: Something cannot be read; all that cannot is told.
    """
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field in fields_of(workflow, form):
        if not field.value.strip() and (field.kind != "text" or field.required):
            continue
        try:
            values[field.name] = _value(field, workflow.inputs[field.name])
        except ValueError as error:
            wrong.append(f"the input {field.name!r} cannot be read: {error}")
    if wrong:
        raise InvalidInputs(f"workflow {workflow.name!r} cannot start: {'; '.join(wrong)}")
    return values


def _field(name: str, schema: Mapping[str, Any], form: Mapping[str, str] | None) -> Field:
    options = tuple(_options(schema))
    kind: Kind = "choice" if options else _kind(schema)
    has_default = "default" in schema
    default = _written(schema["default"], kind) if has_default else ""
    key = f"{_PREFIX}{name}"
    about = " ".join(str(schema.get(word, "")) for word in ("title", "description")).strip()
    value = default if form is None else form.get(key, default)
    return Field(name, key, kind, about, value, not has_default, options)


def _options(schema: Mapping[str, Any]) -> Iterator[str]:
    values = schema.get("enum") or ([True, False] if schema.get("type") == "boolean" else [])
    for value in values:
        yield json.dumps(value, ensure_ascii=False)


def _kind(schema: Mapping[str, Any]) -> Kind:
    said = schema.get("type")
    if said is None:
        # Whatever it is: the form of its default is the likeliest one.
        return "text" if isinstance(schema.get("default", ""), str) else "json"
    return "text" if said == "string" else _NUMBERS.get(said, "json")


def _written(value: Any, kind: Kind) -> str:
    if kind == "text" and isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _value(field: Field, schema: Mapping[str, Any]) -> Any:
    """Return what stands in a field. Raises ValueError."""
    if field.kind == "text" and schema.get("type") == "string":
        return field.value
    try:
        return read_json(field.value)
    except ValueError:
        if field.kind == "text":
            return field.value
        raise
