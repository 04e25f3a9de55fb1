"""Small charts of one line, from samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

__all__ = ["means", "spark", "steps"]

T = TypeVar("T")

_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"


def spark(values: Sequence[float | None]) -> str:
    """Return a bar for each value, the highest for the largest one; a dot where there is none."""
    most = max((value for value in values if value is not None), default=0.0)
    return "".join(_NOTHING if value is None else _bar(value, most) for value in values)


def _bar(value: float, most: float) -> str:
    place = round(value / most * (len(_BARS) - 1)) if most > 0 else 0
    return _BARS[max(0, place)]


def means(
    samples: Iterable[tuple[datetime, T]],
    value: Callable[[T], float],
    since: datetime,
    until: datetime,
    width: int,
) -> list[float | None]:
    """Return the mean of what was measured, in each of `width` equal parts of a time."""
    parts: list[list[float]] = [[] for _ in range(width)]
    for moment, sample in samples:
        parts[_part(moment, since, until, width)].append(value(sample))
    return [sum(part) / len(part) if part else None for part in parts]


def steps(
    samples: Iterable[tuple[datetime, T]],
    value: Callable[[T], float],
    since: datetime,
    until: datetime,
    width: int,
) -> list[float | None]:
    """Return how much a sum has grown, in each of `width` equal parts of a time.

    The first sample only tells from where it grows.
    """
    grown: list[float | None] = [None] * width
    last: float | None = None
    for moment, sample in samples:
        now = value(sample)
        if last is not None:
            part = _part(moment, since, until, width)
            grown[part] = (grown[part] or 0.0) + now - last
        last = now
    return grown


def _part(moment: datetime, since: datetime, until: datetime, width: int) -> int:
    return min(width - 1, max(0, int((moment - since) / (until - since) * width)))
