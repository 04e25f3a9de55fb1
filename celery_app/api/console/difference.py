"""What has changed between two versions, line by line, as a table has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Line", "changed_lines"]

_PLACE = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_KINDS: dict[str, Literal["same", "added", "removed"]] = {
    " ": "same",
    "+": "added",
    "-": "removed",
}


@dataclass(frozen=True)
class Line:
    """A line: its number in the one and in the other version; a `gap` stands for lines left out."""

    kind: Literal["same", "added", "removed", "gap"]
    text: str = ""
    old: int | None = None
    new: int | None = None


def changed_lines(unified: str) -> list[Line]:
    """Return the lines of a unified diff."""
    return list(_lines(unified.split("\n")[2:-1]))


def _lines(lines: list[str]) -> Iterator[Line]:
    old = new = 0
    for number, line in enumerate(lines):
        if place := _PLACE.match(line):
            old, new = int(place[1]), int(place[2])
            if number or old > 1 or new > 1:
                yield Line("gap")
            continue
        kind = _KINDS[line[0]]
        yield Line(
            kind,
            line[1:],
            None if kind == "added" else old,
            None if kind == "removed" else new,
        )
        old += kind != "added"
        new += kind != "removed"
