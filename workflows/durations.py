"""Durations as people write them: `90`, `45s`, `2m`, `1h30m`, `2d`.

Invariant: a duration is a number of seconds above zero from here on, and at most ten years.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

__all__ = ["Duration", "seconds_of", "text_of"]

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TEXT = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_LONGEST = 10 * 366 * 86_400


def seconds_of(value: Any) -> float:
    """Return "1h30m" or a number of seconds as seconds; raises ValueError with what to write."""
    match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif match is not None:
        seconds = sum(
            float(n or 0) * unit for n, unit in zip(match.groups(), _UNITS.values(), strict=True)
        )
    else:
        raise ValueError("write a duration as 45s, 2m, 1h30m or 2d, or as a number of seconds")
    if not 0 < seconds <= _LONGEST:
        raise ValueError("give a duration above zero and up to ten years")
    return seconds


def text_of(seconds: float) -> str | float:
    """Return the shortest text that `seconds_of` reads back; fractions stay a number."""
    if seconds != int(seconds):
        return seconds
    left, text = int(seconds), ""
    for name, unit in _UNITS.items():
        count, left = divmod(left, unit)
        text += f"{count}{name}" if count else ""
    return text


Duration = Annotated[
    float,
    BeforeValidator(seconds_of),
    PlainSerializer(text_of, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]},
        mode="validation",
    ),
    Field(description="As in 45s, 2m, 1h30m, 2d, or a number of seconds."),
]
"""Seconds, read from and shown as text with units."""
