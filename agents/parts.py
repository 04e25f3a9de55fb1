"""The parts of what a job is given: what a plan can hand to different steps.

The rules: of several inputs each is a part. A single one is divided at its headings, at the highest
level that occurs twice or more; without headings, and if it is too long to be read at once, into
pieces of about equal rights. Neighbours are put together where there would be too many.

Invariant: the parts together hold every word of the inputs but the headings, and their names differ.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from agents.context import split
from workflows.task import TaskInput

__all__ = ["MOST_PARTS", "divide"]

MOST_PARTS = 12

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
_FENCE = re.compile(r"^\s*(```|~~~)")


def divide(inputs: Sequence[TaskInput], reads: int) -> list[TaskInput]:
    """Return the parts of the inputs; `reads` is how many tokens are read at once."""
    if len(inputs) != 1:
        return _gathered(list(inputs))
    (whole,) = inputs
    parts = _sections(whole)
    if len(parts) < 2:
        pieces = split(whole.text, reads)
        if len(pieces) == 1:
            return [whole]
        total = len(pieces)
        parts = [
            TaskInput(name=f"{whole.name}, {number} of {total}", text=piece)
            for number, piece in enumerate(pieces, start=1)
        ]
    return _gathered(_renamed(parts))


def _sections(whole: TaskInput) -> list[TaskInput]:
    lines = whole.text.splitlines(keepends=True)
    headings = _headings(lines)
    levels = [level for _, level, _ in headings]
    level = next((one for one in range(1, 7) if levels.count(one) > 1), None)
    if level is None:
        return []
    # A higher heading, such as the title, belongs to what follows it.
    cuts = [(at, title) for at, depth, title in headings if depth == level]
    ends = [at for at, _ in cuts[1:]] + [len(lines)]
    parts = [
        TaskInput(name=title, text="".join(lines[at + 1 : end]).strip("\n"))
        for (at, title), end in zip(cuts, ends, strict=True)
    ]
    opening = "".join(lines[: cuts[0][0]]).strip()
    if any(line and not line.startswith("#") for line in opening.splitlines()):
        parts.insert(0, TaskInput(name="Opening", text=opening))
    return [part for part in parts if part.text.strip()]


def _headings(lines: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (line number, level, title) of each heading; what stands in code is none."""
    found = []
    in_code = False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            in_code = not in_code
        elif not in_code and (heading := _HEADING.match(line.rstrip("\r\n"))):
            found.append((number, len(heading[1]), heading[2]))
    return found


def _renamed(parts: Sequence[TaskInput]) -> list[TaskInput]:
    """Return the parts with a number behind every name that occurred before."""
    names: set[str] = set()
    renamed = []
    for part in parts:
        name, number = part.name, 2
        while name in names:
            name, number = f"{part.name} ({number})", number + 1
        names.add(name)
        renamed.append(TaskInput(name=name, text=part.text))
    return renamed


def _gathered(parts: list[TaskInput]) -> list[TaskInput]:
    if len(parts) <= MOST_PARTS:
        return parts
    bounds = [len(parts) * run // MOST_PARTS for run in range(MOST_PARTS + 1)]
    return _renamed([_joined(parts[start:end]) for start, end in itertools.pairwise(bounds)])


def _joined(parts: Sequence[TaskInput]) -> TaskInput:
    if len(parts) == 1:
        return parts[0]
    text = "\n\n".join(f"### {part.name}\n\n{part.text}" for part in parts)
    return TaskInput(name=f"{parts[0].name} … {parts[-1].name}", text=text)
