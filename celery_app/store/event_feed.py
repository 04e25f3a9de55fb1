"""What happens to all runs, as one feed that can be followed and resumed.

Invariant: the order is that of (transaction, id), and only what is settled is given: events of transactions
before the oldest that is still open. So nothing can come in later before what was given, and a
cursor stands for all that was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from celery_app.errors import UnknownTask
from celery_app.postgres.connection import Database
from workflows.state import TaskState

__all__ = ["Cursor", "EventFeed", "Look"]

#: Events in one answer.
MOST = 2000

_EVENTS = """
    SELECT e.id, e.at, e.xact::text::bigint AS xact, e.task_id, e.root_id, e.kind, e.cause, r.level
      FROM event e LEFT JOIN task r ON r.id = e.root_id
     WHERE (e.xact, e.id) > (CAST(:xact AS xid8), :id)
"""
_ORDER = f"ORDER BY e.xact, e.id LIMIT {MOST}"


class Cursor(NamedTuple):
    """A place in the feed: behind the event `id` of the transaction `xact`."""

    xact: int = 0
    id: int = 0

    def __str__(self) -> str:
        return f"{self.xact}-{self.id}"

    @classmethod
    def read(cls, text: str) -> Cursor | None:
        """Return the place that a text stands for, or None."""
        xact, _, number = text.partition("-")
        if not (xact.isdecimal() and number.isdecimal() and len(text) < 40):
            return None
        found = cls(int(xact), int(number))
        return found if max(found) < 2**63 else None


@dataclass(frozen=True)
class Look:
    """What one look gave.

    Attributes:
        events: In their order, each with `root_id` and `level`.
        cursor: Where to go on.
        horizon: The oldest open transaction: everything before it is settled.
        unsettled: Whether there are events that are not settled yet.
    """

    events: list[dict[str, Any]]
    cursor: Cursor
    horizon: int
    unsettled: bool


class EventFeed:
    """Reads events in their order.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def look(self, after: Cursor | None) -> Look:
        """Return what is settled behind a place; without one nothing, and the place of now."""
        rows = self.database.rows(
            f"""
            WITH now AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon)
            SELECT h.horizon::text::bigint AS horizon, f.*,
                   EXISTS (SELECT 1 FROM event u WHERE u.xact >= h.horizon) AS unsettled
              FROM now h LEFT JOIN LATERAL (
                   {_EVENTS} AND e.xact < h.horizon AND :wanted {_ORDER}) f ON true
            """,
            wanted=after is not None,
            **_values(after or Cursor()),
        )
        first = rows[0]
        events = [_event(row) for row in rows if row.id is not None]
        last = events[-1] if len(events) == MOST else None
        cursor = cursor_of(last) if last else Cursor(first.horizon, 0)
        return Look(events, cursor, first.horizon, first.unsettled)

    def between(self, after: Cursor, until: Cursor, root_id: str | None) -> list[dict[str, Any]]:
        """Return the first events behind one place and not behind another, of a run or of all."""
        rows = self.database.rows(
            f"""
            {_EVENTS} AND (e.xact, e.id) <= (CAST(:until_xact AS xid8), :until_id)
               AND (CAST(:root AS text) IS NULL OR e.root_id = :root) {_ORDER}
            """,
            until_xact=str(until.xact),
            until_id=until.id,
            root=root_id,
            **_values(after),
        )
        return [_event(row) for row in rows]

    def place_of(self, root_id: str, event_id: int) -> Cursor:
        """Return the place behind an event of a run."""
        row = self.database.row(
            """
            SELECT xact::text::bigint AS xact, id FROM event
             WHERE root_id = :root AND id <= :id ORDER BY id DESC LIMIT 1
            """,
            root=root_id,
            id=event_id,
        )
        return Cursor() if row is None else Cursor(row.xact, row.id)

    def ending(self, root_id: str) -> tuple[str | None, int]:
        """Return how a run ended (None: it goes on), and the first transaction that began after this look.

        Raises:
            UnknownTask: There is no such run any more.
        """
        row = self.database.row(
            """
            SELECT state, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax
              FROM task WHERE id = :root
            """,
            root=root_id,
        )
        if row is None:
            raise UnknownTask(f"there is no task {root_id}")
        return (row.state if TaskState(row.state).is_final else None), row.xmax

    def nothing_left(self, root_id: str, after: Cursor) -> bool:
        """Say whether a run is over and there is nothing behind a place."""
        row = self.database.row(
            """
            SELECT t.state, EXISTS (SELECT 1 FROM event e WHERE e.root_id = t.id
                                       AND (e.xact, e.id) > (CAST(:xact AS xid8), :id)) AS more
              FROM task t WHERE t.id = :root
            """,
            root=root_id,
            **_values(after),
        )
        return row is not None and TaskState(row.state).is_final and not row.more


def cursor_of(event: dict[str, Any]) -> Cursor:
    """Return the place behind an event."""
    return Cursor(event["transaction"], event["id"])


def _values(cursor: Cursor) -> dict[str, Any]:
    return {"xact": str(cursor.xact), "id": cursor.id}


def _event(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": row.at.isoformat(),
        "task_id": row.task_id,
        "root_id": row.root_id,
        "kind": row.kind,
        "cause": row.cause,
        "transaction": row.xact,
        "level": row.level,
    }
