"""JSON from outside, read strictly.

Invariant: what is read is plain JSON that means one thing: no number that JSON does not have, no key
twice, and no deeper than can be stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from workflows.problem import shown
from workflows.storable import DEEPEST, finite, shape_fault

__all__ = ["read_json", "read_json_in"]


def read_json(text: str) -> Any:
    """Return the value that JSON text holds.

    Raises `json.JSONDecodeError` for what is no JSON, and another ValueError, with what to do, for
    JSON that is not taken.
    """
    return _checked(_read(lambda: _DECODER.decode(text)))


def read_json_in(text: str, start: int) -> Any:
    """Return the value that begins at a place in a text, whatever follows it; see `read_json`."""
    return _checked(_read(lambda: _DECODER.raw_decode(text, start)[0]))


def _read(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep: flatten it") from None


def _checked(value: Any) -> Any:
    if fault := shape_fault(value):
        raise ValueError(fault)
    return value


def _no_number(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no number in JSON", name, 0)


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"the number {text:.20}... is too long: give it as text") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {shown(key)} is there twice: keep one")
        values[key] = value
    return values


_DECODER = json.JSONDecoder(
    parse_constant=_no_number, parse_float=finite, parse_int=_int, object_pairs_hook=_once
)
