"""`Tool`: a plain Python function that a model may call, with the JSON schema of its arguments.

Invariant: a function is called only with arguments that were read and checked as its annotations
say; whatever it gives back becomes text.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError

from agents.answers import in_words
from agents.errors import InvalidTool, ToolFailed

__all__ = ["Tool", "uses_network"]

Function = TypeVar("Function", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MARK = "uses_network"
_ARGUMENT = re.compile(r"^\s+\*{0,2}(\w+)(?: \(.*?\))?:\s+(.+)$")


def uses_network(function: Function) -> Function:
    """Mark a function as a tool that only tasks with `network: true` may use."""
    setattr(function, _MARK, True)
    return function


@dataclass(frozen=True)
class Tool:
    """A function under its name, with what a model is told about it.

    `parameters` is the JSON schema of the arguments, an object.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    network: bool
    function: Callable[..., Any]
    arguments: type[BaseModel]

    @classmethod
    def of(cls, function: Callable[..., Any], name: str | None = None) -> Self:
        """Make a tool of a function: its name, its docstring, its annotated arguments.

        Raises `InvalidTool` for what a model could not be told or could not call.
        """
        name = name or str(getattr(function, "__name__", ""))
        if not _NAME.fullmatch(name):
            raise InvalidTool(f"{name!r} is no name of a tool: use small letters, digits and _")
        words, told = _docstring(function)
        if not words:
            raise InvalidTool(f"the tool {name} says nothing of itself: give it a docstring")
        if inspect.iscoroutinefunction(function):
            raise InvalidTool(f"the tool {name} is a coroutine: write it with a plain def")
        arguments, schema = _arguments(name, function, told)
        parameters = _inlined(name, schema)
        return cls(name, words, parameters, getattr(function, _MARK, False), function, arguments)

    @property
    def offer(self) -> dict[str, Any]:
        """What a model is told: name, description, parameters."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }

    @property
    def signature(self) -> str:
        """The tool on one line, for models that are told of it in words."""
        given = self.parameters["properties"]
        needed = self.parameters.get("required", ())
        shown = [key if key in needed else f"{key}={given[key].get('default')!r}" for key in given]
        return f"{self.name}({', '.join(shown)}): {self.description.splitlines()[0]}"

    def __call__(self, arguments: Any) -> str:
        """Call the function; raise `ToolFailed`, in words for the model, for arguments that do not fit."""
        try:
            read = self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise ToolFailed(f"the arguments do not fit: {in_words(error)}") from error
        fields = type(read).model_fields
        given = {str(field.alias): getattr(read, key) for key, field in fields.items()}
        return _as_text(self.function(**given))


def _docstring(function: Callable[..., Any]) -> tuple[str, Mapping[str, str]]:
    """Return what a docstring says of the whole and, under `Args:`, of each argument."""
    head, _, tail = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    found = (_ARGUMENT.match(line) for line in tail.splitlines())
    return head.strip(), {one[1]: one[2].strip() for one in found if one}


def _arguments(
    name: str, function: Callable[..., Any], told: Mapping[str, str]
) -> tuple[type[BaseModel], dict[str, Any]]:
    """Return a model of the function's arguments, each under its name as an alias, and its schema."""
    try:
        hints = get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {}
        for number, one in enumerate(inspect.signature(function).parameters.values()):
            if one.kind not in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}:
                raise InvalidTool(f"the tool {name} takes {one}: give each argument a name")
            if one.name not in hints:
                raise InvalidTool(f"the tool {name} does not say what {one.name} is: annotate it")
            default = ... if one.default is one.empty else one.default
            more: dict[str, Any] = {"description": told[one.name]} if one.name in told else {}
            field = Field(default, alias=one.name, **more)
            # No name of a field can be in the way of pydantic's own.
            fields[f"argument_{number}"] = (hints[one.name], field)
        model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        return model, model.model_json_schema()
    except (NameError, TypeError, PydanticUserError) as error:
        words = " ".join(str(error).split())
        raise InvalidTool(f"the annotations of the tool {name} cannot be read: {words}") from error


def _inlined(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without references and titles: it is to stand inside others."""
    parts = schema.pop("$defs", {})

    def inlined(value: Any, within: tuple[str, ...] = (), *, names: bool = False) -> Any:
        if isinstance(value, list):
            return [inlined(inner, within) for inner in value]
        if not isinstance(value, dict):
            return value
        if isinstance(reference := value.get("$ref"), str):
            part = reference.rpartition("/")[2]
            if part in within:
                raise InvalidTool(
                    f"the tool {name} takes {part}, which holds itself: use plain types"
                )
            rest = {key: inner for key, inner in value.items() if key != "$ref"}
            return inlined({**parts[part], **rest}, (*within, part))
        # Below `properties` a title is the name of an argument.
        return {
            key: inlined(inner, within, names=key == "properties" and not names)
            for key, inner in value.items()
            if names or key != "title"
        }

    whole: dict[str, Any] = inlined(schema)
    whole.pop("description", None)
    return {**whole, "properties": whole.get("properties", {})}


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ToolFailed(f"it gave back what is no JSON: {error}") from error
    # Half of a surrogate pair can neither be sent nor stored.
    text: str = value.replace("\0", " ").encode("utf-8", "replace").decode()
    return text if text.strip() else "(nothing)"
