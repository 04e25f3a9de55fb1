"""How `schemas` answers: JSON schemas checked, and values against them, by jsonschema.

Invariant: nothing is ever fetched. A schema refers only to parts of itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from workflows.problem import nearest, shown
from workflows.storable import json_fault

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
#: Keywords of a schema that are applied to parts of a value, before whoever looks gives up. A few
#: lines that refer to each other can ask for more than a lifetime of it.
MOST_LOOKS = 300_000
_looks_left: ContextVar[int] = ContextVar("_looks_left", default=MOST_LOOKS)


class _TooMuch(Exception):
    """The schema asks for more than is looked at."""


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def look(*args: Any) -> Any:
        left = _looks_left.get() - 1
        if left < 0:
            raise _TooMuch
        _looks_left.set(left)
        return keyword(*args)

    return look


_Counted = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {name: _counted(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()},
)


def schema_fault(schema: Any) -> str | None:
    """Return what is wrong with a JSON schema (draft 2020-12) in one sentence, or None."""
    if not isinstance(schema, dict):
        return f"a schema is a mapping such as {{type: string}}, not {shown(schema, 40)}"
    if fault := json_fault(schema):
        return fault
    try:
        error = best_match(_META.iter_errors(schema))
    except RecursionError:
        return "the schema is nested too deep: give its parts names under $defs"
    if error is not None:
        return f"{_place(error)}{_advice(error)}"
    return next(_faults(schema), None)


def mismatch(value: Any, schema: Any) -> str | None:
    """Return where and why `value` is not as the schema says, or None."""
    token = _looks_left.set(MOST_LOOKS)
    try:
        error = best_match(_Counted(schema, registry=Registry()).iter_errors(value))
    except RecursionError:
        return "the schema refers to itself without end: change it"
    except (Unresolvable, re.error) as error:
        return f"the schema cannot be applied: {_short(' '.join(str(error).split()))}"
    except _TooMuch:
        return f"it takes more than {MOST_LOOKS:,} looks to tell: simplify the schema or the value"
    finally:
        _looks_left.reset(token)
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
        for key in ("$ref", "$dynamicRef"):
            if isinstance(value.get(key), str):
                yield value[key]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
