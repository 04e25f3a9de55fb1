"""Small charts of one line, from samples."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["spark"]

_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"


def spark(values: Sequence[float | None]) -> str:
    """Return a bar for each value, the highest for the largest one; a dot where there is none."""
    most = max((value for value in values if value is not None), default=0.0)
    return "".join(_NOTHING if value is None else _bar(value, most) for value in values)


def _bar(value: float, most: float) -> str:
    place = round(value / most * (len(_BARS) - 1)) if most > 0 else 0
    return _BARS[max(0, place)]
