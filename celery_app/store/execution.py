"""The life of a running task, as the database sees it: claim, renew, finish, put back, find again.

Invariant: every change here is guarded by the fencing token or by the old state; an outdated caller
is told so (LeaseLost) and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery_app.postgres.connection import Database
from celery_app.store.records import Claim, Message

_MESSAGE_FIELDS = ("id", "name", "queue", "priority", "type", "agent", "root_id", "parent_id")

#: Tasks to send now: for each head, the head itself and then the tasks of its chain.
Released = Mapping[str, Sequence[Message]]


@dataclass(frozen=True)
class Standing:
    """Why a claim was refused: the task's present state and result."""

    state: str
    result: Any


def released(rows: Iterable[Any]) -> dict[str, list[Message]]:
    """Group the rows of `messages_for` by their head."""
    heads: dict[str, list[Message]] = {}
    for row in rows:
        message = Message(**{name: getattr(row, name) for name in _MESSAGE_FIELDS})
        heads.setdefault(row.head, []).append(message)
    return heads


class ExecutionStore:
    """Claims, leases and outcomes.

    Args:
        database: Where the graph lives.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def claim(self, task_id: str, name: str, owner: str, lease: float) -> Claim | Standing | None:
        """Claim a queued task for `lease` seconds.

        Returns:
            The claim; or, where it is refused, how the task stands (None if there is no such task).
        """
        row = self.database.row(
            "SELECT * FROM claim_task(:id, :name, :owner, :lease)",
            id=task_id,
            name=name,
            owner=owner,
            lease=lease,
        )
        if row is not None:
            return Claim(
                id=task_id,
                fence=row.fence,
                attempt=row.attempt,
                tries=row.tries,
                root_id=row.root_id,
                parent_id=row.parent_id,
                agent=row.agent,
                budgets=tuple(row.budgets),
                seconds_left=row.seconds_left,
                spec=self._vault.unpack(row.spec, "task.spec", task_id),
                backlog=row.backlog,
            )
        row = self.database.row("SELECT * FROM refused_claim(:id, :name)", id=task_id, name=name)
        if row is None:
            return None
        return Standing(row.state, self._vault.unpack(row.result, "task.result", task_id))

    def renew(self, fences: Mapping[str, int], lease: float) -> set[str]:
        """Prolong the leases of the given tasks; return the ids that are still owned."""
        rows = self.database.rows(
            """
            UPDATE task SET lease_until = clock_timestamp() + make_interval(secs => :lease)
              FROM unnest(CAST(:ids AS text[]), CAST(:fences AS bigint[])) AS held (id, fence)
             WHERE task.id = held.id AND task.fence = held.fence AND task.state = 'running'
            RETURNING task.id
            """,
            ids=list(fences),
            fences=list(fences.values()),
            lease=lease,
        )
        return {row.id for row in rows}

    def finish(
        self,
        claim: Claim,
        state: str,
        *,
        result: Any = None,
        error: dict[str, Any] | None = None,
        tokens: tuple[int, int] = (0, 0),
        chained: str | None = None,
    ) -> Released:
        """Commit the outcome of a claimed task; return what is to be published now.

        Raises:
            LeaseLost: Somebody else owns the task; nothing was written.
            AgentSystemError: The result cannot be stored as JSON.
        """
        rows = self.database.rows(
            "SELECT * FROM finish_task(:id, :fence, :state, :result, :error, :prompt, :generated, :chained)",
            id=claim.id,
            fence=claim.fence,
            state=state,
            result=self._vault.pack(result, "task.result", claim.id)
            if state == "succeeded"
            else None,
            error=self._sealed_error(claim.id, error),
            prompt=tokens[0],
            generated=tokens[1],
            chained=chained,
        )
        return released(rows)

    def put_back(
        self,
        claim: Claim,
        delay: float,
        error: dict[str, Any] | None = None,
        *,
        counts: bool = True,
    ) -> bool:
        """Return a claimed task to its queue, not to be released before `delay` seconds.

        Unless it `counts`, this was no try of the task.

        Returns:
            Whether it was still ours to put back.
        """
        return self._leave(claim, "queued", delay=delay, tries=int(counts), error=error)

    def wait_for_budget(self, claim: Claim, reason: str) -> bool:
        """Let a claimed task wait until one of its budgets is given more.

        Returns:
            Whether it was still ours.
        """
        return self._leave(claim, "waiting", waits_for="budget", reason=reason)

    def _leave(
        self,
        claim: Claim,
        state: str,
        *,
        delay: float = 0.0,
        tries: int = 0,
        error: dict[str, Any] | None = None,
        waits_for: str | None = None,
        reason: str | None = None,
    ) -> bool:
        row = self.database.row(
            "SELECT put_back(:id, :fence, :state, :delay, :tries, :error, :waits_for, :reason) AS ours",
            id=claim.id,
            fence=claim.fence,
            state=state,
            delay=delay,
            tries=tries,
            error=self._sealed_error(claim.id, error),
            waits_for=waits_for,
            reason=reason,
        )
        return bool(row.ours)

    def _sealed_error(self, task_id: str, error: dict[str, Any] | None) -> bytes | None:
        return None if error is None else self._vault.pack(error, "task.error", task_id)

    def hand_back(self, owner: str) -> list[str]:
        """Put all that a worker runs back into its queues, at its old place; this was no try of it.

        The processes of the worker hear its name on the channel ``handed_back``.

        Returns:
            The ids of the tasks.
        """
        rows = self.database.rows(
            """
            WITH held AS (
                SELECT id FROM task WHERE owner = :owner AND state = 'running'
                 ORDER BY id FOR NO KEY UPDATE
            ), back AS (
                UPDATE task SET state = 'queued', published_at = NULL, due_at = clock_timestamp(),
                       owner = NULL, lease_until = NULL
                  FROM held WHERE task.id = held.id RETURNING task.id, task.root_id
            ), noted AS (
                INSERT INTO event (task_id, root_id, kind) SELECT id, root_id, 'returned' FROM back
                RETURNING task_id
            )
            SELECT task_id, pg_notify('handed_back', :owner) FROM noted
            """,
            owner=owner,
        )
        return [row.task_id for row in rows]

    # Recovery

    def requeue_expired(self, limit: int) -> list[Claim]:
        """Put tasks whose lease ran out back into their queues.

        Returns:
            Claims on those whose worker has now vanished `limit` times: they are to be failed.
        """
        self.database.rows(
            """
            WITH lost AS (
                SELECT id FROM task WHERE state = 'running' AND lease_until < clock_timestamp()
                   AND losses + 1 < :limit FOR UPDATE SKIP LOCKED
            ), back AS (
                UPDATE task SET state = 'queued', losses = losses + 1, published_at = NULL, owner = NULL,
                       queued_at = clock_timestamp(), lease_until = NULL, due_at = clock_timestamp()
                  FROM lost WHERE task.id = lost.id RETURNING task.id, task.root_id
            )
            INSERT INTO event (task_id, root_id, kind) SELECT id, root_id, 'lost' FROM back
            """,
            limit=limit,
        )
        rows = self.database.rows(
            """
            SELECT id, fence, attempts, tries, root_id, parent_id, agent, budgets, spec FROM task
             WHERE state = 'running' AND lease_until < clock_timestamp() AND losses + 1 >= :limit
            """,
            limit=limit,
        )
        return [
            Claim(
                row.id, row.fence, row.attempts, row.tries, row.root_id, row.parent_id, row.agent,
                tuple(row.budgets), None, self._vault.unpack(row.spec, "task.spec", row.id),
            )
            for row in rows
        ]  # fmt: skip

    def release_all(self) -> Released:
        """Take what has its turn in every queue: retries that are due, and what found no room before.

        It is noted as published in the same statement, so that two processes never send the same;
        should the caller die now, it is found again as forgotten by the broker.
        """
        return released(self.database.rows("SELECT * FROM release_all()"))

    def release(self, queue: str) -> Released:
        """Take what has its turn in one queue."""
        return released(
            self.database.rows(
                "SELECT * FROM release_ready(ARRAY[CAST(:queue AS text)])", queue=queue
            )
        )

    def published_before(self, grace: float, limit: int = 10000) -> list[str]:
        """Return queued tasks whose message was sent more than `grace` seconds ago."""
        rows = self.database.rows(
            """
            SELECT id FROM task WHERE state = 'queued'
               AND published_at < clock_timestamp() - make_interval(secs => :grace)
             ORDER BY queued_at LIMIT :limit
            """,
            grace=grace,
            limit=limit,
        )
        return [row.id for row in rows]

    def forget_messages(self, task_ids: Sequence[str]) -> None:
        """Note that the broker no longer has the messages of these tasks, so that they are sent again."""
        self.database.rows(
            """
            UPDATE task SET published_at = NULL, due_at = clock_timestamp()
             WHERE id = ANY (:ids) AND state = 'queued'
            """,
            ids=list(task_ids),
        )
