"""Tasks, runs and what has numbers in pages, the newest first.

Invariant: whoever follows `next` from the first page sees each entry that was there at the beginning once,
whatever is handed in meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery_app.postgres.connection import Database
from celery_app.store.records import TaskRecord, iso
from celery_app.store.tasks import LISTED, TaskStore
from workflows.errors import InvalidInputs
from workflows.state import TaskState
from workflows.task import SecurityLevel

__all__ = ["Page", "PageStore", "TaskFilter", "Work", "numbered"]

_BEHIND = """
    (CAST(:at AS timestamptz) IS NULL OR (t.created_at, t.id) < (CAST(:at AS timestamptz), :id))
"""
_PRIORITIES = {"critical": 0, "high": 3, "normal": 6, "low": 9}


@dataclass(frozen=True)
class Page:
    """Some documents, and where the next page begins; None: there is none."""

    items: list[dict[str, Any]]
    next: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the page as a document."""
        return {"items": self.items, "next": self.next}


@dataclass(frozen=True)
class TaskFilter:
    """Which tasks are wanted; None is any."""

    state: str | None = None
    type: str | None = None
    agent: str | None = None
    priority: str | None = None
    requested_by: str | None = None


@dataclass(frozen=True)
class Work:
    """Something that was handed in, for people: how many tasks it has, and how many of them are over.

    `workflow` is the name of the one that it is a run of, if it is one.
    """

    record: TaskRecord
    workflow: str | None
    done: int
    whole: int


class PageStore:
    """Reads pages.

    Args:
        database: Where everything lives.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tasks = TaskStore(database)

    def tasks(
        self, wanted: TaskFilter, levels: Collection[SecurityLevel], cursor: str | None, limit: int
    ) -> Page:
        """Return tasks that were handed in (no subtasks), of these levels."""
        rows = self.database.rows(
            f"""
            {LISTED} WHERE t.parent_id IS NULL AND t.level = ANY (:levels) AND {_BEHIND}
               AND (CAST(:state AS text) IS NULL OR t.state = :state)
               AND (CAST(:type AS text) IS NULL OR t.type = :type)
               AND (CAST(:agent AS text) IS NULL OR t.agent = :agent)
               AND (CAST(:priority AS integer) IS NULL OR t.priority = :priority)
               AND (CAST(:requested_by AS text) IS NULL OR t.requested_by = :requested_by)
             ORDER BY t.created_at DESC, t.id DESC LIMIT :limit
            """,
            **{**vars(wanted), "priority": _PRIORITIES.get(wanted.priority or "")},
            **_place(cursor),
            levels=list(levels),
            limit=limit + 1,
        )
        return _page(rows, limit, [self._tasks.listed(row).as_json() for row in rows[:limit]])

    def works(
        self,
        states: Collection[str],
        levels: Collection[SecurityLevel],
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Work], str | None]:
        """Return what was handed in, tasks and runs, in one of these states and of these levels."""
        rows = self.database.rows(
            f"""
            SELECT w.*, r.workflow, p.done, p.whole
              FROM ({LISTED} WHERE t.parent_id IS NULL AND t.level = ANY (:levels) AND {_BEHIND}
                       AND t.state = ANY (:states)
                     ORDER BY t.created_at DESC, t.id DESC LIMIT :limit) w
              LEFT JOIN run r ON r.id = w.id
              CROSS JOIN LATERAL (
                   SELECT count(*) FILTER (WHERE b.state = ANY (:over)) AS done, count(*) AS whole
                     FROM task b WHERE b.root_id = w.id AND b.parent_id IS NOT NULL) p
             ORDER BY w.created_at DESC, w.id DESC
            """,
            **_place(cursor),
            states=list(states),
            over=[state for state in TaskState if state.is_final],
            levels=list(levels),
            limit=limit + 1,
        )
        found = [
            Work(self._tasks.listed(row), row.workflow, row.done, row.whole) for row in rows[:limit]
        ]
        return found, _page(rows, limit, []).next

    def runs(self, workflow: str | None, state: str | None, cursor: str | None, limit: int) -> Page:
        """Return runs of workflows, none that are steps of others."""
        rows = self.database.rows(
            f"""
            SELECT t.id, r.workflow, r.digest, r.trigger, r.due, r.forked_from, t.state, t.created_at,
                   t.finished_at, t.error
              FROM run r JOIN task t USING (id)
             WHERE t.parent_id IS NULL AND {_BEHIND}
               AND (CAST(:workflow AS text) IS NULL OR r.workflow = :workflow)
               AND (CAST(:state AS text) IS NULL OR t.state = :state)
             ORDER BY t.created_at DESC, t.id DESC LIMIT :limit
            """,
            workflow=workflow,
            state=state,
            **_place(cursor),
            limit=limit + 1,
        )
        return _page(rows, limit, [self._run(row) for row in rows[:limit]])

    def _run(self, row: Any) -> dict[str, Any]:
        error = self.database.vault.unpack(row.error, "task.error", row.id) or {}
        return {
            "id": row.id,
            "workflow": row.workflow,
            "digest": row.digest,
            "state": row.state,
            "trigger": row.trigger,
            "due": iso(row.due),
            "forked_from": row.forked_from,
            "created_at": iso(row.created_at),
            "finished_at": iso(row.finished_at),
            "error": error.get("message"),
        }


def numbered(items: list[dict[str, Any]], limit: int) -> Page:
    """Return a page of documents that have a number as `id`; of them one more was read than it may have."""
    more = len(items) > limit
    return Page(items[:limit], str(items[limit - 1]["id"]) if more else None)


def _page(rows: Any, limit: int, items: list[dict[str, Any]]) -> Page:
    if len(rows) <= limit:
        return Page(items, None)
    last = rows[limit - 1]
    place = json.dumps([last.created_at.isoformat(), last.id])
    return Page(items, base64.urlsafe_b64encode(place.encode()).decode().rstrip("="))


def _place(cursor: str | None) -> dict[str, Any]:
    """Return where a page begins. Raises `InvalidInputs` for what was never given as `next`."""
    if cursor is None:
        return {"at": None, "id": None}
    try:
        at, task_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment, number = datetime.fromisoformat(at), UUID(task_id)
    except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise InvalidInputs("cursor: give what `next` of the page before said") from None
    return {"at": moment if moment.tzinfo else moment.replace(tzinfo=UTC), "id": str(number)}
