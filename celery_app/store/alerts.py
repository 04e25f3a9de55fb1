"""Alerts and silences, and looks at what may make them.

Invariant: looks are made one at a time, each in one transaction: what it found, what it tells and how far
it got are written together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from celery_app.postgres.connection import Database
from celery_app.store.alert_look import NOTE, Alert, AlertLook, alerts_of

__all__ = ["AlertStore"]

_LOCK = 0x41474C54


class AlertStore:
    """Alerts, silences, and looks.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def look(self, work: Callable[[AlertLook], None], not_within: float = 0.0) -> bool:
        """Do a look, unless somebody is at it, or was within so many seconds; return whether it was done."""

        def guarded(connection: Connection) -> bool:
            mine = connection.scalar(
                text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}
            )
            if not mine:
                return False
            due = connection.scalar(
                text(
                    """
                    SELECT at <= clock_timestamp() - make_interval(secs => :seconds) FROM alert_look
                    """
                ),
                {"seconds": not_within},
            )
            if due:
                work(AlertLook(connection, self.database.vault))
            return bool(due)

        return self.database.transaction(guarded)

    def newest(
        self, *, open_only: bool = False, limit: int = 50, before: int | None = None
    ) -> list[Alert]:
        """Return alerts, newest first; with `before` those that are older than the one of that number."""
        return alerts_of(
            self.database.rows(
                f"""
                SELECT * FROM alert
                 WHERE (CAST(:before AS bigint) IS NULL OR id < :before)
                   {"AND resolved_at IS NULL" if open_only else ""}
                 ORDER BY id DESC LIMIT :limit
                """,
                before=before,
                limit=limit,
            ),
            self.database.vault,
        )

    def resolve(self, number: int, by: str) -> bool:
        """Close an alert because somebody says so; return whether it was open."""
        row = self.database.row(
            f"""
            WITH closed AS (
                UPDATE alert SET resolved_at = clock_timestamp(), resolved_by = :by
                 WHERE id = :id AND resolved_at IS NULL RETURNING root_id, task_id
            ), noted AS ({
                NOTE.replace(":task", "c.task_id")
                .replace(":root", "c.root_id")
                .replace("FROM task r", "FROM closed c, task r")
            })
            SELECT count(*) AS n FROM closed
            """,
            id=number,
            by=by,
            kind="alert-resolved",
            cause=f"alert {number}",
        )
        return bool(row.n)

    def silence(self, rule: str, about: str, seconds: float, by: str) -> int:
        """Tell nobody of what fits these patterns for so many seconds; return the silence's id."""
        row = self.database.row(
            """
            INSERT INTO silence (rule, about, until, made_by)
            VALUES (:rule, :about, clock_timestamp() + make_interval(secs => :seconds), :by) RETURNING id
            """,
            rule=rule,
            about=about,
            seconds=seconds,
            by=by,
        )
        return int(row.id)

    def silences(self) -> list[dict[str, Any]]:
        """Return the silences in force."""
        rows = self.database.rows(
            "SELECT id, rule, about, until, made_by FROM silence WHERE until > clock_timestamp() ORDER BY id"
        )
        return [{**row._asdict(), "until": row.until.isoformat()} for row in rows]

    def end_silence(self, number: int) -> bool:
        """End a silence now; return whether it was in force."""
        rows = self.database.rows(
            """
            UPDATE silence SET until = clock_timestamp()
             WHERE id = :id AND until > clock_timestamp() RETURNING 1
            """,
            id=number,
        )
        return bool(rows)
