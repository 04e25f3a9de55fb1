"""JSON schemas of inputs and answers: whether one is sound, and whether a value is as it says.

Invariant: nothing is ever fetched. A schema refers only to parts of itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from workflows.problem import nearest

__all__ = ["mismatch", "schema_fault"]

_META = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
)
_TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]
_KEYWORDS = sorted(
    {*Draft202012Validator.VALIDATORS, "$comment", "$defs", "$id", "$schema", "default"}
    | {"deprecated", "description", "examples", "readOnly", "title", "writeOnly"}
)
_SHOWN = 160


def schema_fault(schema: Any) -> str | None:
    """Return what is wrong with a JSON schema (draft 2020-12) in one sentence, or None."""
    if not isinstance(schema, dict):
        return f"a schema is a mapping such as {{type: string}}, not {schema!r:.40}"
    try:
        error = best_match(_META.iter_errors(schema))
    except RecursionError:
        return "the schema is nested too deep: give its parts names under $defs"
    if error is not None:
        return f"{_place(error)}{_advice(error)}"
    return next(_faults(schema), None)


def mismatch(value: Any, schema: Any) -> str | None:
    """Return where and why `value` is not as the schema says, or None."""
    try:
        error = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(value))
    except RecursionError:
        return "the schema refers to itself without end: change it"
    return None if error is None else f"{_place(error)}{_short(error.message)}"


def _place(error: ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".")
    return f"{where}: " if where else ""


def _advice(error: ValidationError) -> str:
    given = error.instance
    if error.validator == "anyOf" and isinstance(given, str):
        return f"there is no type {given!r}: {nearest(given, _TYPES)}"
    return _short(error.message)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _faults(schema: dict[str, Any]) -> Iterator[str]:
    resolver = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver()
    for key in schema:
        # JSON schema ignores words that it does not know, and so would ignore the misspelt one.
        near = difflib.get_close_matches(str(key), _KEYWORDS, n=1, cutoff=0.7)
        if near and key not in _KEYWORDS:
            yield f"{key!r} means nothing in a schema: did you mean {near[0]}?"
    for reference in _references(schema):
        if not reference.startswith("#"):
            yield f"$ref {reference!r} points elsewhere: put that schema under $defs"
            continue
        try:
            resolver.lookup(reference)
        except Unresolvable:
            yield f"$ref {reference!r} points to nothing: correct it"


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
