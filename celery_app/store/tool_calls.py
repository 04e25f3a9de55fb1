"""What agents did with tools, kept before a model hears of it.

Invariant: a call is written once for its place (task, try, number) and never changed. Its result is
replayed only to the very same call.
"""

from __future__ import annotations

from typing import Any

from celery_app.postgres.connection import Database


class ToolCallStore:
    """Recorded tool calls.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, task_id: str, try_: int, number: int, digest: str) -> dict[str, Any] | None:
        """Return the result recorded at this place, if it is of this call."""
        row = self.database.row(
            """
            SELECT payload FROM tool_call
             WHERE task_id = :id AND try = :try AND number = :number AND digest = :digest
            """,
            **{"id": task_id, "try": try_, "number": number, "digest": digest},
        )
        if row is None:
            return None
        result: dict[str, Any] = self._payload(row.payload, task_id, try_, number)["result"]
        return result

    def record(
        self,
        task_id: str,
        try_: int,
        number: int,
        digest: str,
        tool: str,
        arguments: str,
        result: dict[str, Any],
    ) -> None:
        """Keep what came of a call; one that is there already stays.

        Args:
            arguments: As the model wrote them.
            result: ``ToolResult.to_json()``.
        """
        self.database.rows(
            """
            INSERT INTO tool_call (task_id, try, number, tool, digest, refused, payload)
            VALUES (:id, :try, :number, :tool, :digest, :refused, :payload)
            ON CONFLICT DO NOTHING
            """,
            **{
                "id": task_id,
                "try": try_,
                "number": number,
                "tool": tool,
                "digest": digest,
                "refused": result["refused"] is not None,
                "payload": self.database.vault.pack(
                    {"arguments": arguments, "result": result},
                    "tool_call.payload",
                    task_id,
                    try_,
                    number,
                ),
            },
        )

    def calls(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's calls in order, each with its arguments and what the model was told."""
        rows = self.database.rows(
            """
            SELECT try AS attempt, number, tool, at, payload
              FROM tool_call WHERE task_id = :id ORDER BY try, number
            """,
            id=task_id,
        )
        return [self._document(task_id, row) for row in rows]

    def _document(self, task_id: str, row: Any) -> dict[str, Any]:
        kept = self._payload(row.payload, task_id, row.attempt, row.number)
        return {
            "try": row.attempt,
            "number": row.number,
            "tool": row.tool,
            "at": row.at.isoformat(),
            "arguments": kept["arguments"],
            "refused": kept["result"]["refused"],
            "failed": kept["result"]["failed"],
            "result": kept["result"]["text"],
        }

    def _payload(self, stored: bytes, task_id: str, try_: int, number: int) -> dict[str, Any]:
        kept: dict[str, Any] = self.database.vault.unpack(
            stored, "tool_call.payload", task_id, try_, number
        )
        return kept
