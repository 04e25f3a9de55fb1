"""Keyed requests of the HTTP API and their answers.

Invariant: of those who begin the same request at the same time, one is told to do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery_app.postgres.connection import Database

__all__ = ["KeptAnswer", "RequestKeyStore"]


@dataclass(frozen=True)
class KeptAnswer:
    """What is known of a request: of which one, and its answer, once there is one."""

    digest: str
    status: int | None
    body: Any


class RequestKeyStore:
    """Keeps the answers of keyed requests for a day.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def begin(self, subject: str, key: str, digest: str) -> KeptAnswer | None:
        """Take a request up. None: it is the caller's to do; else what is known of it already."""
        ours = self.database.row(
            """
            WITH old AS (
                DELETE FROM request_key WHERE (subject, key) IN (
                    SELECT subject, key FROM request_key
                     WHERE begun_at < clock_timestamp() - interval '24 hours'
                       AND (subject, key) <> (:subject, :key) LIMIT 100 FOR UPDATE SKIP LOCKED)
            )
            INSERT INTO request_key AS k (subject, key, digest) VALUES (:subject, :key, :digest)
            ON CONFLICT (subject, key) DO UPDATE
               SET digest = excluded.digest, begun_at = clock_timestamp(), status = NULL, body = NULL
             WHERE k.begun_at < clock_timestamp() - interval '24 hours'
                OR k.status IS NULL AND k.begun_at < clock_timestamp() - interval '2 minutes'
            RETURNING key
            """,
            subject=subject,
            key=key,
            digest=digest,
        )
        return None if ours is not None else self._known(subject, key)

    def keep(self, subject: str, key: str, status: int, body: Any) -> None:
        """Keep the answer of a request that was taken up."""
        self.database.rows(
            "UPDATE request_key SET status = :status, body = :body WHERE subject = :subject AND key = :key",
            subject=subject,
            key=key,
            status=status,
            body=self.database.vault.pack(body, "request_key.body", subject, key),
        )

    def forget(self, subject: str, key: str) -> None:
        """Let a request be asked anew, since nothing came of it."""
        self.database.rows(
            "DELETE FROM request_key WHERE subject = :subject AND key = :key AND status IS NULL",
            subject=subject,
            key=key,
        )

    def _known(self, subject: str, key: str) -> KeptAnswer | None:
        row = self.database.row(
            "SELECT digest, status, body FROM request_key WHERE subject = :subject AND key = :key",
            subject=subject,
            key=key,
        )
        if row is None:
            return None
        body = self.database.vault.unpack(row.body, "request_key.body", subject, key)
        return KeptAnswer(row.digest, row.status, body)
