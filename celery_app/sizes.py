"""Amounts of memory as people write them: `1Gi`, `512Mi`, `500M`.

Invariant: a size is a positive whole number of bytes from here on.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, PositiveInt

__all__ = ["Size", "format_size", "parse_size"]

UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def parse_size(value: Any) -> Any:
    """Return the bytes of `"1Gi"`; raise ValueError for text that is no size."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?|[KMGT]i)B?\s*", value)
    size = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 1 <= size < 2**63:
        raise ValueError("write a size as 512Mi, 1Gi or 1.5G")
    return int(size)


def format_size(size: int) -> str:
    """Return a size in the largest unit that holds it without a fraction."""
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


Size = Annotated[
    PositiveInt,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
]
"""Bytes, read from and shown as text with a unit."""
