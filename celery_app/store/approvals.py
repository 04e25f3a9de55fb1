"""Questions to people. A step that asks one waits, and holds no worker.

Invariant: a question is answered once: by a person, or by the clock when its time has run out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from celery_app.errors import LeaseLost
from celery_app.postgres.connection import Database
from celery_app.store.execution import Released, released
from celery_app.store.records import Claim, iso


@dataclass(frozen=True)
class Question:
    """What a step asks a person: `question`, `options` and the JSON `schema` of an answer."""

    task_id: str
    asked: dict[str, Any]
    asked_at: datetime
    expires_at: datetime | None
    answered_at: datetime | None
    answered_by: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the public document of a question."""
        times = {
            "asked_at": self.asked_at,
            "expires_at": self.expires_at,
            "answered_at": self.answered_at,
        }
        shown = {name: iso(at) for name, at in times.items()}
        return {**self.asked, **shown, "answered_by": self.answered_by}


class ApprovalStore:
    """Asks, and takes answers.

    Args:
        database: Where the steps live.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def ask(
        self, claim: Claim, question: dict[str, Any], timeout: float | None, late: dict[str, Any]
    ) -> Released:
        """Let a claimed step wait for a person's answer.

        Args:
            claim: The step.
            question: What is asked: `question`, and the JSON schema of the `answer`.
            timeout: Seconds to wait.
            late: How it ends after that: `state`, `result`, `error`.

        Raises:
            LeaseLost: Somebody else owns it; nothing was written.
        """

        def work(connection: Connection) -> Released:
            row = connection.execute(
                text(
                    "SELECT put_back(:id, :fence, 'waiting', 0, 0, NULL, 'approval', :reason) AS ours"
                ),
                {"id": claim.id, "fence": claim.fence, "reason": "it waits for an answer"},
            ).one()
            if not row.ours:
                raise LeaseLost(f"task {claim.id} is no longer ours; nothing was written")
            connection.execute(
                text(
                    """
                    INSERT INTO approval (task_id, question, expires_at, late_state, late_result, late_error)
                    VALUES (:id, :question, clock_timestamp() + make_interval(secs => :timeout), :state,
                            :result, :error)
                    ON CONFLICT (task_id) DO UPDATE
                       SET question = excluded.question, asked_at = clock_timestamp(),
                           expires_at = excluded.expires_at, late_state = excluded.late_state,
                           late_result = excluded.late_result, late_error = excluded.late_error,
                           answered_at = NULL, answered_by = NULL
                    """
                ),
                {
                    "id": claim.id,
                    "question": self._vault.pack(question, "approval.question", claim.id),
                    "timeout": timeout,
                    "state": late["state"],
                    "result": self._late(claim.id, late, "result", "succeeded"),
                    "error": self._late(claim.id, late, "error", "failed"),
                },
            )
            return {}

        return self.database.transaction(work)

    def _late(self, task_id: str, late: dict[str, Any], part: str, state: str) -> bytes | None:
        if late["state"] != state:
            return None
        return self._vault.pack(late[part], f"approval.late_{part}", task_id)

    def questions(self, task_ids: Iterable[str]) -> dict[str, Question]:
        """Return what those of the given steps asked that have asked something."""
        rows = self.database.rows(
            "SELECT * FROM approval WHERE task_id = ANY (:ids)", ids=list(task_ids)
        )
        return {row.task_id: self._question(row) for row in rows}

    def open(self, limit: int = 500) -> list[dict[str, Any]]:
        """Return what nobody has answered yet, the oldest first: with its `run`, `workflow` and `step`."""
        rows = self.database.rows(
            """
            SELECT a.*, t.step, t.parent_id AS run, r.workflow
              FROM approval a JOIN task t ON t.id = a.task_id JOIN run r ON r.id = t.parent_id
             WHERE a.answered_at IS NULL AND t.state = 'waiting'
             ORDER BY a.asked_at, a.task_id LIMIT :limit
            """,
            limit=limit,
        )
        return [
            {
                "run": row.run,
                "workflow": row.workflow,
                "step": row.step,
                **self._question(row).as_json(),
            }
            for row in rows
        ]

    def _question(self, row: Any) -> Question:
        return Question(
            row.task_id,
            self._vault.unpack(row.question, "approval.question", row.task_id),
            row.asked_at,
            row.expires_at,
            row.answered_at,
            row.answered_by,
        )

    def answer(self, task_id: str, by: str, result: dict[str, Any]) -> Released | None:
        """End a step that waits with a person's answer; None if it was answered before."""

        def work(connection: Connection) -> Released | None:
            taken = connection.execute(
                text(
                    """
                    UPDATE approval SET answered_at = clock_timestamp(), answered_by = :by
                     WHERE task_id = :id AND answered_at IS NULL RETURNING task_id
                    """
                ),
                {"id": task_id, "by": by},
            ).first()
            if taken is None:
                return None
            return released(
                connection.execute(
                    text("SELECT * FROM end_waiting(:id, 'succeeded', :result, NULL)"),
                    {"id": task_id, "result": self._vault.pack(result, "task.result", task_id)},
                )
            )

        return self.database.transaction(work)

    def end_unanswered(self) -> Released:
        """Answer for those who did not in time, as the step says."""

        def work(connection: Connection) -> Released:
            late = connection.execute(
                text(
                    """
                    UPDATE approval SET answered_at = clock_timestamp()
                     WHERE task_id IN (SELECT o.task_id FROM approval o
                                        WHERE o.answered_at IS NULL AND o.expires_at <= clock_timestamp()
                                        ORDER BY o.task_id FOR UPDATE SKIP LOCKED)
                    RETURNING task_id, late_state, late_result, late_error
                    """
                )
            ).all()
            ended = [
                row
                for each in late
                for row in connection.execute(
                    text("SELECT * FROM end_waiting(:id, :state, :result, :error)"),
                    {
                        "id": each.task_id,
                        "state": each.late_state,
                        "result": self._moved(each, "result"),
                        "error": self._moved(each, "error"),
                    },
                )
            ]
            return released(ended)

        return self.database.transaction(work)

    def _moved(self, row: Any, part: str) -> bytes | None:
        """Seal the outcome of a late step anew, for the task that it becomes the outcome of."""
        stored = getattr(row, f"late_{part}")
        if stored is None:
            return None
        clear = self._vault.open(stored, f"approval.late_{part}", row.task_id)
        return self._vault.seal(clear, f"task.{part}", row.task_id)
