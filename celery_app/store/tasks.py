"""Tasks as they are looked at. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from kombu.utils.functional import LRUCache

from celery_app.errors import UnknownTask, Unsealed
from celery_app.postgres.connection import Database
from celery_app.store.events import event_document
from celery_app.store.records import TaskRecord
from workflows.state import TaskState
from workflows.task import SecurityLevel

# A run waits as soon as one of its tasks does and nothing else of it can go on.
_STUCK = """
    t.parent_id IS NULL AND t.state = 'expanded'
    AND EXISTS (SELECT 1 FROM task w WHERE w.root_id = t.id AND w.state = 'waiting')
    AND NOT EXISTS (SELECT 1 FROM task w WHERE w.root_id = t.id AND w.state IN ('queued', 'running'))
"""
_COLUMNS = ", ".join(
    f"t.{name}"
    for name in (
        "id", "root_id", "parent_id", "name", "type", "agent", "priority", "state", "attempts", "deadline",
        "created_at", "queued_at", "started_at", "finished_at", "prompt_tokens", "generated_tokens",
        "cause", "reason", "step", "skipped_for", "risk", "requested_by", "budgets", "spec", "error",
    )
)  # fmt: skip
#: Levels that are kept in memory.
_LEVELS = 10_000
#: Bytes, sealed, up to which a result stands in a list: a list must not cost what is in it.
_LISTED_RESULT = 8192


def _record(result: str, omitted: str) -> str:
    return f"""
        SELECT {_COLUMNS}, {result} AS result, {omitted} AS omitted, {_STUCK} AS stuck,
               ARRAY(SELECT e.task_id FROM edge e WHERE e.body_id = t.id AND e.need = 'success'
                           ORDER BY e.position) AS dependencies
          FROM task t
    """


#: Tasks as they are.
RECORD = _record("t.result", "false")
#: Tasks as they stand in a list, without results that are long.
LISTED = _record(
    f"CASE WHEN octet_length(t.result) <= {_LISTED_RESULT} THEN t.result END",
    f"coalesce(octet_length(t.result) > {_LISTED_RESULT}, false)",
)


class TaskStore:
    """Reads tasks.

    Args:
        database: Where they live.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._levels: LRUCache = LRUCache(limit=_LEVELS)

    def get(self, task_id: str) -> TaskRecord:
        """Return one task.

        Raises:
            UnknownTask: There is none with this id.
        """
        row = self.database.row(f"{RECORD} WHERE t.id = :id", id=task_id)
        if row is None:
            raise _unknown(task_id)
        return TaskRecord.from_row(row, self.database.vault)

    def state(self, task_id: str) -> TaskState:
        """Return how a task stands, whatever the size of its result and of what it is made of.

        Raises:
            UnknownTask: There is none with this id.
        """
        row = self.database.row(
            f"SELECT t.state, {_STUCK} AS stuck FROM task t WHERE t.id = :id", id=task_id
        )
        if row is None:
            raise _unknown(task_id)
        return TaskState.WAITING if row.stuck else TaskState(row.state)

    def level(self, task_id: str) -> SecurityLevel:
        """Return the level of the run that a task belongs to; of one that there is not, the usual.

        It is asked for at every door, and never changes.
        """
        if (known := self._levels.get(task_id)) is not None:
            return SecurityLevel(known)
        row = self.database.row(
            """
            SELECT root.level FROM task JOIN task AS root ON root.id = task.root_id
             WHERE task.id = :id
            """,
            id=task_id,
        )
        if row is None:
            return SecurityLevel.INTERNAL
        self._levels[task_id] = row.level
        return SecurityLevel(row.level)

    def root_of(self, task_id: str) -> str:
        """Return the id of the run that a task belongs to. Raises `UnknownTask`."""
        row = self.database.row("SELECT root_id FROM task WHERE id = :id", id=task_id)
        if row is None:
            raise _unknown(task_id)
        return str(row.root_id)

    def papers_of(self, task_id: str) -> set[str]:
        """Return which of `plan`, `calls` and `tool_calls` there are of a task."""
        row = self.database.row(
            """
            SELECT EXISTS (SELECT 1 FROM plan WHERE task_id = :id) AS plan,
                   EXISTS (SELECT 1 FROM model_call WHERE task_id = :id) AS calls,
                   EXISTS (SELECT 1 FROM tool_call WHERE task_id = :id) AS tool_calls
            """,
            id=task_id,
        )
        return {name for name, there in row._asdict().items() if there} if row else set()

    def find(self, prefix: str) -> list[str]:
        """Return the ids that begin with `prefix` (at most ten)."""
        rows = self.database.rows(
            "SELECT id FROM task WHERE starts_with(id, :prefix) LIMIT 10", prefix=prefix
        )
        return [row.id for row in rows]

    def states(self, task_ids: Sequence[str]) -> dict[str, str]:
        """Return the states of those of the given tasks that exist."""
        rows = self.database.rows(
            "SELECT id, state FROM task WHERE id = ANY (:ids)", ids=list(task_ids)
        )
        return {row.id: row.state for row in rows}

    def by_key(self, idempotency_key: str) -> str | None:
        """Return the id of the task that was handed in under this key."""
        row = self.database.row(
            "SELECT id FROM task WHERE idempotency_key = :key", key=idempotency_key
        )
        return None if row is None else str(row.id)

    def tree(self, task_id: str) -> list[TaskRecord]:
        """Return a task and everything below it, parents first, siblings in order.

        OFFSET keeps the planner, which cannot know how few they are, from reading the whole table.

        Raises:
            UnknownTask: There is none with this id.
        """
        rows = self.database.rows(
            f"""
            WITH RECURSIVE below AS (
                SELECT id, ARRAY[position] AS path FROM task WHERE id = :id
                UNION ALL
                SELECT c.id, below.path || c.position FROM task c JOIN below ON c.parent_id = below.id
            )
            SELECT record.* FROM below
              JOIN LATERAL ({RECORD} WHERE t.id = below.id OFFSET 0) record ON true
             ORDER BY below.path
            """,
            id=task_id,
        )
        if not rows:
            raise _unknown(task_id)
        return [TaskRecord.from_row(row, self.database.vault) for row in rows]

    def children(self, task_id: str) -> list[TaskRecord]:
        """Return the direct subtasks of a task, in order."""
        rows = self.database.rows(
            f"{RECORD} WHERE t.parent_id = :id ORDER BY t.position", id=task_id
        )
        return [TaskRecord.from_row(row, self.database.vault) for row in rows]

    def inputs_of(self, task_id: str) -> list[TaskRecord]:
        """Return the tasks that this one needed, in the order of its dependencies."""
        rows = self.database.rows(
            f"{RECORD} JOIN edge i ON i.task_id = t.id WHERE i.body_id = :id ORDER BY i.position",
            id=task_id,
        )
        return [TaskRecord.from_row(row, self.database.vault) for row in rows]

    def newest(
        self,
        limit: int = 20,
        state: str | None = None,
        levels: Collection[SecurityLevel] = tuple(SecurityLevel),
    ) -> list[TaskRecord]:
        """Return the tasks of these levels that were handed in last (no subtasks), newest first."""
        rows = self.database.rows(
            f"""
            {LISTED} WHERE t.parent_id IS NULL AND (CAST(:state AS text) IS NULL OR t.state = :state)
               AND t.level = ANY (:levels)
            ORDER BY t.created_at DESC LIMIT :limit
            """,
            levels=list(levels),
            state=state,
            limit=limit,
        )
        return [self.listed(row) for row in rows]

    def listed(self, row: Any) -> TaskRecord:
        """Return a task for a list, which one that was tampered with must not hide."""
        try:
            return TaskRecord.from_row(row, self.database.vault)
        except Unsealed as refused:
            emptied = row._replace(spec=None, result=None, error=None)
            record = TaskRecord.from_row(emptied, self.database.vault)
            return replace(record, spec={"description": f"cannot be shown: {refused}"})

    def count_roots(self) -> int:
        """Return how many tasks were handed in (no subtasks)."""
        row = self.database.row("SELECT count(*) AS n FROM task WHERE parent_id IS NULL")
        return int(row.n) if row else 0

    def plan_of(self, task_id: str) -> dict[str, Any] | None:
        """Return the newest plan of a task, if it was planned."""
        row = self.database.row(
            "SELECT version, body FROM plan WHERE task_id = :id ORDER BY version DESC LIMIT 1",
            id=task_id,
        )
        if row is None:
            return None
        plan: dict[str, Any] = self.database.vault.unpack(
            row.body, "plan.body", task_id, row.version
        )
        return plan

    def counts(self) -> dict[str, int]:
        """Return how many tasks are in each state."""
        rows = self.database.rows("SELECT state, count(*) AS n FROM task GROUP BY state")
        return {row.state: row.n for row in rows}

    def events(self, root_id: str, after: int = 0) -> list[dict[str, Any]]:
        """Return what happened to a run, oldest first, from the event after `after` on."""
        rows = self.database.rows(
            "SELECT * FROM event WHERE root_id = :id AND id > :after ORDER BY id",
            id=root_id,
            after=after,
        )
        return [event_document(row) for row in rows]


def _unknown(task_id: str) -> UnknownTask:
    return UnknownTask(f"there is no task {task_id}; `ai-agent task list` shows those there are")
