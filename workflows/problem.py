"""`Problem`: one thing that is wrong with a workflow as written, and where.

Invariant: a problem is one line; `file:line` stands first, where editors look for it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


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
