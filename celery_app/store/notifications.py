"""The outbox of the notifiers.

Invariant: what is written in a transaction is sent after it, at least once, until it has been or its time
is over. Whoever takes something has it for a while; a notifier that fails holds up no other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from celery_app.postgres.connection import Database
from celery_app.redaction import redacted
from celery_app.security.vault import Vault

__all__ = ["Notification", "NotificationStore", "write"]

#: Seconds that whoever took something has to send it, before somebody else does.
_TAKEN = 120.0


@dataclass(frozen=True)
class Notification:
    """Something to be sent."""

    id: int
    notifier: str
    subject: str
    body: dict[str, Any]
    made_at: datetime
    tries: int


def write(
    connection: Connection, vault: Vault, notifier: str, subject: str, body: dict[str, Any]
) -> None:
    """Put something into the outbox, within a transaction."""
    number = connection.execute(text("SELECT nextval('notification_id')")).scalar_one()
    connection.execute(
        text(
            "INSERT INTO notification (id, notifier, subject, body) VALUES (:id, :to, :subject, :body)"
        ),
        {
            "id": number,
            "to": notifier,
            "subject": subject,
            "body": vault.pack(body, "notification.body", number),
        },
    )


class NotificationStore:
    """Takes from the outbox what is due.

    Args:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def due(self) -> list[str]:
        """Return the notifiers that have something to send now."""
        rows = self.database.rows(
            "SELECT DISTINCT notifier FROM notification WHERE due_at <= clock_timestamp() ORDER BY 1"
        )
        return [row.notifier for row in rows]

    def take(self, notifier: str) -> Notification | None:
        """Take the oldest thing that a notifier is to send now."""
        row = self.database.row(
            """
            UPDATE notification
               SET due_at = clock_timestamp() + make_interval(secs => :taken), tries = tries + 1
             WHERE id = (SELECT id FROM notification
                          WHERE notifier = :notifier AND due_at <= clock_timestamp()
                          ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING id, notifier, subject, body, made_at, tries
            """,
            taken=_TAKEN,
            notifier=notifier,
        )
        if row is None:
            return None
        body = self._vault.unpack(row.body, "notification.body", row.id)
        return Notification(row.id, row.notifier, row.subject, body, row.made_at, row.tries)

    def sent(self, number: int) -> None:
        """Note that something was sent."""
        self.database.rows(
            """
            UPDATE notification SET sent_at = clock_timestamp(), due_at = NULL, error = NULL
             WHERE id = :id
            """,
            id=number,
        )

    def failed(self, number: int, why: str, seconds: float | None) -> None:
        """Note why something could not be sent; it is tried again after so many seconds, or never."""
        self.database.rows(
            """
            UPDATE notification
               SET due_at = clock_timestamp() + make_interval(secs => :seconds), error = :error
             WHERE id = :id
            """,
            id=number,
            seconds=seconds,
            error=self._vault.pack(redacted(why), "notification.error", number),
        )

    def put_off(self, notifier: str, seconds: float) -> None:
        """Try nothing more with a notifier for so many seconds."""
        self.database.rows(
            """
            UPDATE notification SET due_at = clock_timestamp() + make_interval(secs => :seconds)
             WHERE notifier = :notifier AND due_at <= clock_timestamp()
            """,
            notifier=notifier,
            seconds=seconds,
        )

    def newest(self, limit: int = 50) -> list[dict[str, Any]]:
        """Return what was sent or is to be sent, newest first."""
        rows = self.database.rows("SELECT * FROM notification ORDER BY id DESC LIMIT :n", n=limit)
        return [*self._shown(rows)]

    def prune(self, days: float) -> int:
        """Forget what was over so many days ago; return how much that was."""
        rows = self.database.rows(
            """
            DELETE FROM notification
             WHERE due_at IS NULL AND made_at < clock_timestamp() - make_interval(secs => :seconds)
            RETURNING 1
            """,
            seconds=days * 86400,
        )
        return len(rows)

    def _shown(self, rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
        for row in rows:
            state = "sent" if row.sent_at else "waiting" if row.due_at else "given up"
            yield {
                "id": row.id,
                "notifier": row.notifier,
                "subject": row.subject,
                "state": state,
                "tries": row.tries,
                "made_at": row.made_at.isoformat(),
                "due_at": row.due_at.isoformat() if row.due_at else None,
                "sent_at": row.sent_at.isoformat() if row.sent_at else None,
                "error": self._vault.unpack(row.error, "notification.error", row.id),
            }
