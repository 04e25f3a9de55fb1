"""Values of a time as a small picture of bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Chart", "charts_of"]

_HEIGHT = 40.0

#: Of these the whole counts, of the others the last one.
_SUMS = {"ended", "failed", "tokens"}


@dataclass(frozen=True)
class Chart:
    """A chart: its name, what it says in words, and (place, height) of its bars, from the top 0 to 40."""

    name: str
    words: str
    bars: list[tuple[int, float]]
    width: int


def charts_of(series: Mapping[str, Sequence[float | None]]) -> list[Chart]:
    """Return a chart of each series, the largest value of which is as high as the picture."""
    return [_chart(name, values) for name, values in series.items()]


def _chart(name: str, values: Sequence[float | None]) -> Chart:
    known = [value for value in values if value is not None]
    most = max(known, default=0.0)
    bars = [
        (place, round(_HEIGHT * value / most, 1))
        for place, value in enumerate(values)
        if value and most > 0
    ]
    if not known:
        return Chart(name, "not measured", [], len(values))
    told = f"{_read(sum(known))} in all" if name in _SUMS else f"{_read(known[-1])} now"
    return Chart(name, f"{told}, {_read(most)} at most", bars, len(values))


def _read(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
