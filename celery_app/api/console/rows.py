"""Tasks as rows of a table, with their place in time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celery_app.api.console.words import seconds_between, title

__all__ = ["rows_of"]

Document = Mapping[str, Any]


def rows_of(tasks: Sequence[Document], critical: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what a table says of tasks; `left` and `width` are percent of the time that all of them take."""
    begin, whole = _span(tasks)
    return [_row(task, begin, whole, task["id"] in critical) for task in tasks]


def _row(task: Document, begin: datetime | None, whole: float, critical: bool) -> dict[str, Any]:
    seconds = seconds_between(task["started_at"], task["finished_at"])
    left = width = 0.0
    if begin is not None and seconds is not None:
        left = 100 * (seconds_between(begin, task["started_at"]) or 0.0) / whole
        width = max(1.0, 100 * seconds / whole)
    return {
        **task,
        "title": title(dict(task)),
        "seconds": seconds,
        "critical": critical,
        "left": min(99.0, round(left, 2)),
        "width": round(min(width, 100 - min(99.0, left)), 2),
    }


def _span(tasks: Sequence[Document]) -> tuple[datetime | None, float]:
    starts = list(_moments(tasks, "started_at"))
    if not starts:
        return None, 1.0
    ends = list(_moments(tasks, "finished_at"))
    open_ones = any(task["started_at"] and not task["finished_at"] for task in tasks)
    end = datetime.now(UTC) if open_ones else max(ends, default=datetime.now(UTC))
    return min(starts), max(0.001, (end - min(starts)).total_seconds())


def _moments(tasks: Sequence[Document], name: str) -> Iterator[datetime]:
    return (datetime.fromisoformat(task[name]) for task in tasks if task[name])
