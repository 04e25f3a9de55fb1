"""Time that passes at once, for tests: whatever waits for a moment waits less long for it.

Invariant: leases stay as they are. They say who is alive, which no test may decide by moving a clock.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from celery_app.postgres.connection import Database

__all__ = ["ClockStore"]

_WAITING = (
    ("approval", "expires_at", "answered_at IS NULL"),
    ("task", "due_at", "state IN ('queued', 'waiting')"),
    ("task", "expires_at", "finished_at IS NULL"),
    ("task", "deadline", "finished_at IS NULL"),
)


class ClockStore:
    """The moments that are waited for.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def skip(self, seconds: float) -> None:
        """Bring all of them nearer."""

        def work(connection: Connection) -> None:
            for table, column, waits in _WAITING:
                connection.execute(
                    text(
                        f"UPDATE {table} SET {column} = {column} - make_interval(secs => :seconds) "
                        f"WHERE {column} IS NOT NULL AND {waits}"
                    ),
                    {"seconds": seconds},
                )

        self._database.transaction(work)
