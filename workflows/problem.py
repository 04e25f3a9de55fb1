"""`Problem`: one thing that is wrong with a workflow as written, and where.

Invariant: a problem is one line; `file:line` stands first, where editors look for it.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Problem", "nearest", "shown"]

_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return what to do about a name that does not exist, as the end of a sentence."""
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        return f"did you mean {near[0]!r}?"
    return otherwise or f"there is {', '.join(names) or 'none at all'}"


def shown(value: object, most: int = 60) -> str:
    """Return how any value looks, in quotes and cut, however long, deep or odd it is."""
    try:
        brief = isinstance(value, int | dict | list | tuple | set)
        text = _BRIEF.repr(value) if brief else str(value)
    # Any object may come from outside, and its own words may fail.
    except Exception:
        text = f"a {type(value).__name__}"
    return repr(text[:most])


@dataclass(frozen=True)
class Problem:
    """What is wrong and what to do (`text`), in which file, line (from 1) and step.

    `line` is 0 for a workflow that was made in Python. `step` is the id of the step, `#3` for the
    third where it has no usable id, and empty outside of the steps.
    """

    file: str
    line: int
    step: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        step = f"step {self.step}: " if self.step else ""
        return f"{place}: {step}{' '.join(self.text.split())}"
