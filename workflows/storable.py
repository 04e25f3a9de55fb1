"""Field types for values that are stored and read back unchanged.

Invariant: what passes here is altered neither by JSON nor by PostgreSQL, which knows no NUL
character and no half of a surrogate pair; and it is no larger than one row can bear.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

__all__ = [
    "DEEPEST",
    "LONGEST_NAME",
    "LONGEST_TEXT",
    "LONGEST_VALUE",
    "Amount",
    "Count",
    "FilledText",
    "JsonList",
    "JsonObject",
    "MemorySize",
    "Moment",
    "Name",
    "SetOf",
    "Text",
    "bytes_of",
    "finite",
    "json_fault",
    "shape_fault",
    "text_fault",
]

#: Characters of one text: a description, a prompt, an input.
LONGEST_TEXT = 1_000_000
#: Characters of a name or key. An index of PostgreSQL takes 2,700 bytes.
LONGEST_NAME = 500
#: Characters of one JSON value as it is written: arguments, metadata, a schema.
LONGEST_VALUE = 4_000_000
#: Lists and mappings inside each other. Readers of JSON give up not far beyond.
DEEPEST = 100
_MOST_PARTS = 1_000_000

T = TypeVar("T")

# An escaped NUL in JSON text; after an odd backslash it would only be text that looks like one.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_HALF = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"\s*[-+]?[\d._]+(?:e[-+]?\d+)?\s*", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGT])(i)?)?")


def bytes_of(size: str) -> int:
    """Return a size such as "512Mi" (powers of 1024) or "2G" (powers of 1000) in bytes."""
    match = _SIZE.fullmatch(size)
    count = 0.0
    if match is not None:
        count = float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2] or " ")
    if not 1 <= count < 2**63:
        raise ValueError('give a size above zero such as "512Mi" or "2G"')
    return int(count)


def shape_fault(value: Any, deepest: int = DEEPEST) -> str | None:
    """Return what to do about plain data that is too deep (or holds itself) or too large, or None."""
    parts = 0
    stack: list[tuple[Any, int]] = [([value], 0)]
    while stack:
        outer, depth = stack.pop()
        if depth > deepest:
            return f"it is nested more than {deepest} deep: flatten it"
        inside = outer.values() if isinstance(outer, dict) else outer
        parts += len(inside)
        if parts > _MOST_PARTS:
            return f"it has more than {_MOST_PARTS:,} parts: split it"
        stack += [(inner, depth + 1) for inner in inside if isinstance(inner, dict | list | tuple)]
    return None


def finite(text: str) -> float:
    """Return the number that a text says; raises ValueError where no float can hold it."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.20} is too large: give a smaller one")
    return number


def text_fault(text: str) -> str | None:
    """Return why a text cannot be stored, and what to do; or None."""
    if len(text) > LONGEST_TEXT:
        return f"it has {len(text):,} characters and at most {LONGEST_TEXT:,} are taken: split it"
    if "\0" in text:
        return "a NUL character cannot be stored; remove it"
    if _HALF.search(text):
        return "half of a surrogate pair cannot be stored; decode the text as UTF-8"
    return None


def _clean(text: str) -> str:
    if fault := text_fault(text):
        raise ValueError(fault)
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank; leave it out or fill it in")
    return _clean(text)


def _short(text: str) -> str:
    if len(text) > LONGEST_NAME:
        raise ValueError(
            f"it has {len(text):,} characters and a name has at most {LONGEST_NAME}: shorten it"
        )
    return text


def json_fault(value: Any) -> str | None:
    """Return why a value would not be kept as the JSON that it is, and what to do; or None."""
    if fault := shape_fault(value):
        return fault
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        same = json.loads(text) == value
    except (TypeError, ValueError, RecursionError) as error:
        return f"not JSON: {error}; use JSON values only"
    if len(text) > LONGEST_VALUE:
        return (
            f"as JSON it has {len(text):,} characters and at most {LONGEST_VALUE:,} are taken: "
            "put it into a file and pass its name"
        )
    if not same:
        return "JSON would change it; use lists for tuples and strings for keys"
    return "a NUL character cannot be stored; remove it" if _NUL.search(text) else None


def _unchanged(value: T) -> T:
    if fault := json_fault(value):
        raise ValueError(fault)
    return value


def _no_number(value: Any) -> Any:
    """Refuse what would be taken for seconds since 1970, which nobody means who writes a date."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("write date and time with their zone: 2026-01-31T12:00:00Z")
    return value


def _moment(moment: datetime) -> datetime:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("it lies outside of the years 1 to 9999 in UTC: give another") from None
    return moment


def _size(text: str) -> str:
    bytes_of(text)
    return text


Text = Annotated[str, AfterValidator(_clean)]
FilledText = Annotated[str, AfterValidator(_filled)]
Name = Annotated[str, AfterValidator(_filled), AfterValidator(_short)]
Moment = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_moment)]
JsonList = Annotated[list[Any], AfterValidator(_unchanged)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_unchanged)]
MemorySize = Annotated[str, AfterValidator(_size)]
# More than anybody means, and what every column holds; `true` is no number here.
Amount = Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, gt=0, le=2**53)]
# Sets have no order of their own, and equal tasks are to be equal as JSON.
SetOf = Annotated[set[T], PlainSerializer(sorted, return_type=list[str], when_used="json")]
