"""What models answered, kept before it is used.

Invariant: an answer is written once for its place (task, try, number) and never changed. It is
replayed only to the very same question.
"""

from __future__ import annotations

from typing import Any

from celery_app.postgres.connection import Database
from workflows.plan import CallEstimate


class JournalStore:
    """Recorded model calls.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, task_id: str, try_: int, number: int, digest: str) -> dict[str, Any] | None:
        """Return the answer recorded at this place, if it answers this question."""
        row = self.database.row(
            """
            SELECT reply FROM model_call
             WHERE task_id = :id AND try = :try AND number = :number AND digest = :digest
            """,
            **{"id": task_id, "try": try_, "number": number, "digest": digest},
        )
        if row is None:
            return None
        reply: dict[str, Any] = self.database.vault.unpack(
            row.reply, "model_call.reply", task_id, try_, number
        )
        return reply

    def record(
        self,
        task_id: str,
        try_: int,
        number: int,
        digest: str,
        seconds: float,
        reply: dict[str, Any],
    ) -> None:
        """Keep an answer and book it on the budgets of its task; one that is there already stays.

        Args:
            reply: ``Reply.to_json()``.
        """
        self.database.rows(
            """
            SELECT record_call(:id, :try, :number, :digest, :model, :host, :seconds, :prompt, :generated,
                               :load, :reading, :writing, :reply)
            """,
            **{
                "id": task_id,
                "try": try_,
                "number": number,
                "digest": digest,
                "model": reply["model"],
                "host": reply["host"],
                "seconds": seconds,
                "prompt": reply["usage"]["prompt"],
                "generated": reply["usage"]["generated"],
                "load": reply["usage"]["load_seconds"],
                "reading": reply["usage"]["prompt_seconds"],
                "writing": reply["usage"]["generate_seconds"],
                "reply": self.database.vault.pack(reply, "model_call.reply", task_id, try_, number),
            },
        )

    def note(self, task_id: str, try_: int, number: int, model: str, path: str) -> None:
        """Keep how a question came out; what is noted at this place already stays.

        Args:
            path: One of ``agents.answers.Path``.
        """
        self.database.rows(
            """
            INSERT INTO answer (task_id, try, number, model, path)
            VALUES (:id, :try, :number, :model, :path) ON CONFLICT DO NOTHING
            """,
            **{"id": task_id, "try": try_, "number": number, "model": model, "path": path},
        )

    def calls(self, task_id: str) -> list[dict[str, Any]]:
        """Return what is known of a task's calls, in order, without the words."""
        rows = self.database.rows(
            """
            SELECT try AS attempt, number, model, host, at, seconds, prompt_tokens, generated_tokens
              FROM model_call WHERE task_id = :id ORDER BY try, number
            """,
            id=task_id,
        )
        calls = [row._asdict() for row in rows]
        # `try` is a word of Python, and no row may have it as a name.
        return [
            {"try": call.pop("attempt"), **call, "at": call["at"].isoformat()} for call in calls
        ]

    def answers(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's calls in order, each with the `text` that the model answered."""
        rows = self.database.rows(
            """
            SELECT try AS attempt, number, reply FROM model_call
             WHERE task_id = :id ORDER BY try, number
            """,
            id=task_id,
        )
        texts = {
            (row.attempt, row.number): self.database.vault.unpack(
                row.reply, "model_call.reply", task_id, row.attempt, row.number
            )["text"]
            for row in rows
        }
        return [
            {**call, "text": texts.get((call["try"], call["number"]), "")}
            for call in self.calls(task_id)
        ]

    def used(self, root_id: str | None = None) -> tuple[int, int, int]:
        """Return what a run, or all of them, took: calls, tokens read, tokens written."""
        row = self.database.row(
            """
            SELECT count(*) AS calls, coalesce(sum(c.prompt_tokens), 0) AS prompt,
                   coalesce(sum(c.generated_tokens), 0) AS generated
              FROM model_call c JOIN task t ON t.id = c.task_id
             WHERE CAST(:root AS text) IS NULL OR t.root_id = :root
            """,
            root=root_id,
        )
        return (int(row.calls), int(row.prompt), int(row.generated)) if row else (0, 0, 0)

    def estimates(self) -> dict[str, CallEstimate]:
        """Return what a task of each agent has taken on average, as measured so far."""
        rows = self.database.rows(
            """
            SELECT agent, avg(prompt) AS prompt, avg(generated) AS generated,
                   avg(seconds) AS seconds, avg(calls) AS calls
              FROM (SELECT t.agent, sum(c.prompt_tokens) AS prompt, sum(c.generated_tokens) AS generated,
                           sum(c.seconds) AS seconds, count(*) AS calls
                      FROM model_call c JOIN task t ON t.id = c.task_id
                     GROUP BY t.agent, t.id) AS per_task
             WHERE agent IS NOT NULL GROUP BY agent
            """
        )
        return {
            row.agent: CallEstimate(
                prompt=round(row.prompt),
                generated=round(row.generated),
                seconds=float(row.seconds),
                calls=max(1, round(row.calls)),
            )
            for row in rows
        }
