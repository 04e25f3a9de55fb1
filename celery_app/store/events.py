"""The events of a run, while it goes on.

Invariant: each event is given once, and none is missed, in whatever order those who write them commit:
those of transactions that were under way at one look are looked for at the next.
"""

from __future__ import annotations

from typing import Any

from celery_app.postgres.connection import Database

__all__ = ["EVENT", "RunEvents", "event_document"]

#: What those who follow a run are told when something has happened to it.
EVENT = "event"


def event_document(row: Any) -> dict[str, Any]:
    """Return the public document of an event."""
    return {
        "id": row.id,
        "at": row.at.isoformat(),
        "task_id": row.task_id,
        "root_id": row.root_id,
        "kind": row.kind,
        "cause": row.cause,
        "transaction": int(row.xact),
    }


class RunEvents:
    """Reads what happens to a run, look after look.

    Args:
        database: Where it lives.
        root_id: The run.
        after: The id of the last event that is known.
    """

    def __init__(self, database: Database, root_id: str, after: int = 0) -> None:
        self._database = database
        self.root_id = root_id
        self._after = after
        self._horizon = 0
        # By id, the transactions that a look may see again.
        self._given: dict[int, int] = {}

    def fresh(self) -> list[dict[str, Any]]:
        """Return the events that were not given yet, in the order of their ids."""
        rows = self._database.rows(
            """
            SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, e.*
              FROM (SELECT) AS always LEFT JOIN event e
                ON e.root_id = :root AND e.id > :after AND e.xact >= CAST(CAST(:horizon AS text) AS xid8)
             ORDER BY e.id
            """,
            root=self.root_id,
            after=self._after,
            horizon=str(self._horizon),
        )
        self._horizon = int(rows[0].horizon)
        found = [row for row in rows if row.id is not None and row.id not in self._given]
        self._given |= {row.id: int(row.xact) for row in found}
        self._given = {id_: xact for id_, xact in self._given.items() if xact >= self._horizon}
        return [event_document(row) for row in found]

    def make_known(self, seconds: float) -> None:
        """Let whoever adds events to the run say so at once, for so many seconds, on the channel `run_ID`."""
        self._database.rows(
            """
            WITH gone AS (DELETE FROM followed WHERE until < clock_timestamp() AND root_id <> :root)
            INSERT INTO followed VALUES (:root, clock_timestamp() + make_interval(secs => :seconds))
            ON CONFLICT (root_id) DO UPDATE SET until = greatest(followed.until, excluded.until)
            """,
            root=self.root_id,
            seconds=seconds,
        )
