"""The branch lines of a graph in text, one row for each node, as `git log --graph` has them.

    ✓         outline
    ├─✓       sections
    ├─│─✓     numbers
    ✗ │ │     opening
    │ └─●     review

A node stands in a lane that goes on until the last one that needs it has been drawn: straight below,
or at the end of a line to the side. A lane that a line only crosses has gaps beside it.

Invariant: what each node needs can be read back from the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["MOST_LANES", "Branch", "branches"]

#: A graph with more lanes side by side is not drawn.
MOST_LANES = 16


@dataclass(frozen=True)
class Branch:
    """What stands left and right of the mark of a node, and in a row below it."""

    left: str
    right: str
    below: str


def branches(needs: Mapping[str, Collection[str]]) -> dict[str, Branch] | None:
    """Return the lines of each node; None if there are too many side by side.

    The nodes are in the order in which they are drawn, each after what it needs.
    """
    waiting = Counter(each for needed in needs.values() for each in needed)
    lanes: list[str | None] = []
    last = -1
    found: dict[str, Branch] = {}
    for node, needed in needs.items():
        waiting.subtract(needed)
        joined = [column for column, owner in enumerate(lanes) if owner in needed]
        ended = [column for column in joined if not waiting[lanes[column] or ""]]
        # Straight below what has ended just now would look as if it needed that.
        column = ended[0] if ended else _free(lanes, last)
        if column == len(lanes):
            lanes.append(None)
        if len(lanes) > MOST_LANES:
            return None
        row = _row(lanes, joined, ended, column)
        for each in ended:
            lanes[each] = None
        lanes[column] = node if waiting[node] else None
        last = column
        below = "".join("│ " if owner else "  " for owner in lanes)
        found[node] = Branch(row[: 2 * column], row[2 * column + 1 :], below)
    width = 2 * len(lanes)
    return {
        node: Branch(
            branch.left,
            branch.right.ljust(width - len(branch.left) - 1),
            branch.below.ljust(width),
        )
        for node, branch in found.items()
    }


def _free(lanes: Sequence[str | None], last: int) -> int:
    free = (column for column, owner in enumerate(lanes) if owner is None and column != last)
    return next(free, len(lanes))


def _row(
    lanes: Sequence[str | None], joined: Sequence[int], ended: Sequence[int], column: int
) -> str:
    left, right = min([*joined, column]), max([*joined, column])
    row = ""
    for each, owner in enumerate(lanes):
        inside = left < each < right
        if each in ended:
            sign = "┴" if inside else "└" if each == left else "┘"
        elif each in joined:
            sign = "┼" if inside else "├" if each == left else "┤"
        else:
            sign = "│" if owner else "─" if inside else " "
        row += sign + ("─" if left <= each < right else " ")
    return row
