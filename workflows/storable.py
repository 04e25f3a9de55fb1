"""Field types for values that are stored and read back unchanged.

Invariant: what passes here is altered neither by JSON nor by PostgreSQL, which knows no NUL
character and no half of a surrogate pair.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, PlainSerializer

__all__ = [
    "Amount",
    "Count",
    "FilledText",
    "JsonList",
    "JsonObject",
    "MemorySize",
    "SetOf",
    "Text",
    "bytes_of",
]

T = TypeVar("T")

# An escaped NUL in JSON text; after an odd backslash it would only be text that looks like one.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGT])(i)?)?")


def bytes_of(size: str) -> int:
    """Return a size such as "512Mi" (powers of 1024) or "2G" (powers of 1000) in bytes."""
    match = _SIZE.fullmatch(size)
    count = 0.0
    if match is not None:
        count = float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " ")
    if count < 1:
        raise ValueError('give a size above zero such as "512Mi" or "2G"')
    return int(count)


def _clean(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be stored; remove it")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("half of a surrogate pair cannot be stored; decode the text as UTF-8")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; leave it out or fill it in")
    return _clean(text)


def _unchanged(value: T) -> T:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        same = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}; use JSON values only") from None
    if not same:
        raise ValueError("JSON would change it; use lists for tuples and strings for keys")
    if _NUL.search(text):
        raise ValueError("a NUL character cannot be stored; remove it")
    return value


def _size(text: str) -> str:
    bytes_of(text)
    return text


Text = Annotated[str, AfterValidator(_clean)]
FilledText = Annotated[str, AfterValidator(_filled)]
JsonList = Annotated[list[Any], AfterValidator(_unchanged)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_unchanged)]
MemorySize = Annotated[str, AfterValidator(_size)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
# Sets have no order of their own, and equal tasks are to be equal as JSON.
SetOf = Annotated[set[T], PlainSerializer(sorted, return_type=list[str], when_used="json")]
