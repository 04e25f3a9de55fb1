"""Pictures of figures, as SVG files that are the same whenever the figures are.

Invariant: matplotlib is only needed here (`pip install ai-agent-system[bench]`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw_bars", "draw_lines"]


def draw_bars(
    path: Path, label: str, groups: Sequence[str], values: Mapping[str, Sequence[float | None]]
) -> None:
    """Draw a bar from 1 for each name in each group, on a logarithmic scale."""
    figure, axes = _pyplot().subplots(figsize=(12, 0.5 + 0.2 * len(groups) * (len(values) + 1)))
    height = 0.8 / len(values)
    for number, (name, row) in enumerate(values.items()):
        places = [group + number * height for group in range(len(groups))]
        axes.barh(places, [(value or 1) - 1 for value in row], height, left=1, label=name)
    axes.set_yticks([group + 0.4 for group in range(len(groups))], groups)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel(label)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def draw_lines(
    path: Path, across: str, up: str, rows: Sequence[Mapping[str, float]], names: Sequence[str]
) -> None:
    """Draw a line for each name over the `tasks` of the rows, on a logarithmic scale."""
    figure, axes = _pyplot().subplots(figsize=(8, 4))
    places = [row["tasks"] for row in rows]
    for name in names:
        axes.plot(places, [row[name] for row in rows], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend()
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    # Ids in the file follow from its content, not from chance.
    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    _pyplot().close(figure)
