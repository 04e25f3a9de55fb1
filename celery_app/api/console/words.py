"""Values as people read them on a page: moments, durations, states, results.

Invariant: nothing here makes markup; what it returns is escaped where it is put into a page.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from workflows.gantt import span_of
from workflows.state import StepStatus, TaskState

__all__ = ["FILTERS", "lasting", "mark", "seconds_between", "status_of", "title"]

_MARKS = {
    StepStatus.PENDING: "○",
    StepStatus.RUNNING: "●",
    StepStatus.WAITING: "◌",
    StepStatus.SUCCESS: "✓",
    StepStatus.ERROR: "✗",
    StepStatus.CANCELLED: "⊘",
    StepStatus.SKIPPED: "↷",
}
#: What goals, items of a plan, triggers and alerts are said to be, as tasks and steps are.
_ALIKE = {
    "open": StepStatus.PENDING,
    "planned": StepStatus.PENDING,
    "reached": StepStatus.SUCCESS,
    "done": StepStatus.SUCCESS,
    "to-accept": StepStatus.WAITING,
    "firing": StepStatus.ERROR,
    "resolved": StepStatus.SUCCESS,
    "paused": StepStatus.SKIPPED,
    "ready": StepStatus.SUCCESS,
}
_LONGEST_RESULT = 20_000
_SHORT_ID = 8
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def status_of(state: str) -> StepStatus:
    """Return the status that a state of a task or step, or of what is like one, is drawn as."""
    if state in _ALIKE:
        return _ALIKE[state]
    return StepStatus(state) if state in set(StepStatus) else TaskState(state).step_status


def mark(state: str) -> str:
    """Return the sign of a state, for those who see no colours."""
    return _MARKS[status_of(state)]


def lasting(seconds: float | None) -> str:
    """Return a duration in words; nothing of what has not begun."""
    return "" if seconds is None else span_of(seconds)


def ago(moment: datetime | str) -> str:
    """Return how long ago a moment is."""
    seconds = (datetime.now(UTC) - _moment(moment)).total_seconds()
    return "now" if seconds < 1 else f"{span_of(seconds)} ago"


def at(moment: datetime | str) -> str:
    """Return a moment to the second."""
    return f"{_moment(moment):%Y-%m-%d %H:%M:%S}"


def seconds_between(begin: datetime | str | None, end: datetime | str | None) -> float | None:
    """Return the seconds from a moment to another, or until now; None if it has not come yet."""
    if begin is None:
        return None
    until = datetime.now(UTC) if end is None else _moment(end)
    return max(0.0, (until - _moment(begin)).total_seconds())


def title(task: dict[str, Any], most: int = 120) -> str:
    """Return what a task is called, on one line."""
    named = task["metadata"].get("title") or task["description"] or task["task"] or task["type"]
    words = " ".join(str(named).split())
    return words if len(words) <= most else f"{words[: most - 1]}…"


def pretty(value: Any) -> str:
    """Return a value as text: a text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    more = len(text) - _LONGEST_RESULT
    return text if more <= 0 else f"{text[:_LONGEST_RESULT]}\n… and {more:,} more characters"


def short(identity: str) -> str:
    """Return the beginning of an id, as commands take it."""
    return identity[:_SHORT_ID]


def is_id(text: str) -> bool:
    """Tell whether a text is the id of a task."""
    return _ID.fullmatch(text) is not None


def number(value: float) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,.0f}"


def size(number: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def percent(share: float | None) -> str:
    """Return a share; nothing of what was not measured."""
    return "" if share is None else f"{100 * share:.1f} %"


def brief(seconds: float | None) -> str:
    """Return a duration that may be very short; nothing of what was not measured."""
    if seconds is None or seconds >= 1:
        return lasting(seconds)
    return f"{1000 * seconds:.0f} ms"


def _moment(moment: datetime | str) -> datetime:
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment


FILTERS = {
    "ago": ago,
    "at": at,
    "brief": brief,
    "is_id": is_id,
    "lasting": lasting,
    "mark": mark,
    "number": number,
    "percent": percent,
    "pretty": pretty,
    "short": short,
    "size": size,
    "status": status_of,
    "title_of": title,
}
"""What templates can do with values, by name."""
