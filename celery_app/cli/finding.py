"""`Finding`: one thing that `ai-agent doctor` looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["UNREACHABLE", "WRONG", "Finding"]

#: Exit codes.
WRONG, UNREACHABLE = 2, 4


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `exit_code` is what the command ends with because of it: 0 for `ok` and `warn`.
    """

    level: Literal["ok", "warn", "fail"]
    subject: str
    fact: str
    advice: str = ""
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the finding as JSON can hold it."""
        return asdict(self)
