"""From a list of validation errors to the one line that a person reads.

Invariant: the line names the place, the key and the value, and a misspelt key comes with the
nearest one that exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from celery_app.errors import ConfigurationError
from celery_app.sources import KeyPath, Source

__all__ = ["refusal"]


def refusal(error: ValidationError, model: type[BaseModel], source: Source) -> ConfigurationError:
    """Return the first complaint as a ConfigurationError, and how many there are besides."""
    # An unknown key often is the cause of the others: it is told first.
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    others = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return ConfigurationError(_sentence(details[0], model, source) + others)


def _sentence(detail: ErrorDetails, model: type[BaseModel], source: Source) -> str:
    path: KeyPath = detail["loc"]
    key = ".".join(map(str, path))
    place = source.place(path)
    if detail["type"] == "extra_forbidden":
        return f"{place}: {key} is not a known key: {_hint(path, model)}"
    reason = detail["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    if isinstance(detail["input"], dict | BaseModel):
        return f"{place}: {key}: {reason}"
    return f"{place}: {key} is {detail['input']!r:.80}: {reason}"


def _hint(path: KeyPath, model: type[BaseModel]) -> str:
    known = sorted(_keys(_model_at(path[:-1], model)))
    name = str(path[-1])
    near = get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {'.'.join(map(str, (*path[:-1], near[0])))}?"
    elsewhere = [dotted for dotted in _dotted(model) if dotted.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    return f"known here are {', '.join(known)}"


def _keys(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def _model_at(path: KeyPath, model: type[BaseModel]) -> type[BaseModel]:
    for key in path:
        if isinstance(key, str):
            model = _inner(model.model_fields[key].annotation) or model
    return model


def _dotted(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, described in model.model_fields.items():
        yield prefix + name
        inner = _inner(described.annotation)
        if inner is not None:
            yield from _dotted(inner, f"{prefix}{name}.")


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _inner(part))), None)
