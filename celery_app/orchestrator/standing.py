"""Why a task is not running: one sentence that names who or what it waits for.

Invariant: nothing here changes anything; what it says was true at one moment.
"""

from __future__ import annotations

from collections.abc import Iterable

from celery_app.postgres.connection import Database
from celery_app.store.records import TaskRecord
from workflows.state import TaskState

__all__ = ["why_not_running"]

_COUNTED = 100
_NAMED = 3


def why_not_running(database: Database, task: TaskRecord) -> str | None:
    """Return what a task waits for; None if it runs or is over."""
    if task.state == TaskState.PENDING:
        return _unmet(database, task.id)
    if task.state == TaskState.EXPANDED:
        return _subtasks(database, task.id)
    if task.state == TaskState.WAITING:
        return task.reason or _waiting(database, task.root_id)
    return _in_queue(database, task.id) if task.state == TaskState.QUEUED else None


def _unmet(database: Database, task_id: str) -> str:
    rows = database.rows(
        """
        SELECT t.id, t.state FROM edge e JOIN task t ON t.id = e.task_id
         WHERE e.body_id = :id AND e.satisfied IS NULL ORDER BY e.position
        """,
        id=task_id,
    )
    return f"needs {_list(f'{row.id} ({row.state})' for row in rows)}"


def _subtasks(database: Database, task_id: str) -> str:
    rows = database.rows(
        "SELECT state, count(*) AS n FROM task WHERE parent_id = :id GROUP BY state ORDER BY state",
        id=task_id,
    )
    return f"its subtasks: {', '.join(f'{row.n} {row.state}' for row in rows)}"


def _waiting(database: Database, root_id: str) -> str:
    rows = database.rows(
        "SELECT id, reason FROM task WHERE root_id = :id AND state = 'waiting' ORDER BY id",
        id=root_id,
    )
    return f"{_list(row.id for row in rows)} waits: {rows[0].reason}" if rows else "it goes on"


def _in_queue(database: Database, task_id: str) -> str:
    row = database.row(
        """
        SELECT t.queue, t.published_at IS NOT NULL AS sent, t.quotas,
               extract(epoch FROM t.due_at - clock_timestamp())::float AS due,
               (SELECT count(*) FROM task o WHERE o.queue = t.queue AND o.state = 'running') AS running,
               (SELECT count(*) FROM (
                    SELECT FROM task o WHERE o.queue = t.queue AND o.state = 'queued'
                       AND o.published_at IS NULL AND (o.rank, o.queued_at) < (t.rank, t.queued_at)
                     LIMIT :most + 1) AS counted) AS ahead
          FROM task t WHERE t.id = :id
        """,
        id=task_id,
        most=_COUNTED,
    )
    if row.sent:
        return (
            f"its message is with the broker in queue {row.queue}, where {row.running} tasks run now: "
            f"the next free worker takes it (none? `ai-agent worker -Q {row.queue}`)"
        )
    if row.due is not None and row.due > 0:
        return f"it is tried again in {row.due:.0f} s"
    if row.quotas and (full := _full(database, task_id)) is not None:
        return full
    ahead = f"more than {_COUNTED}" if row.ahead > _COUNTED else row.ahead
    return f"{ahead} tasks of queue {row.queue} go before it"


def _full(database: Database, task_id: str) -> str | None:
    """Name the first quota that has no room for a task, and who has taken it."""
    row = database.row(
        """
        SELECT r.name, r.room, u.amount, q.capacity, q.rate,
               ARRAY(SELECT o.id FROM task o
                      WHERE r.name = ANY (o.quotas) AND o.state IN ('running', 'expanded')) AS takers
          FROM task t CROSS JOIN LATERAL unnest(t.quotas, t.amounts) AS u (name, amount)
          JOIN quota_room() r ON r.name = u.name JOIN quota q ON q.name = u.name
         WHERE t.id = :id AND r.room + 1e-9 < u.amount ORDER BY r.name LIMIT 1
        """,
        id=task_id,
    )
    if row is None:
        return None
    if row.rate is not None:
        return f"{row.name} is {row.rate:g} starts a second, and they are used up for now"
    takers = _list(row.takers) or "tasks that are about to start"
    taken = f"{row.capacity - row.room:g} of {row.capacity:g}"
    return f"{row.name} has room for {max(0, row.room):g}: {taken} are taken by {takers}"


def _list(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more
