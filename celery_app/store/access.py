"""Tokens, by the digests of their secrets; and the record of what was denied.

Invariant: a secret is shown once, to whoever makes it. Nothing here can show it again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery_app.errors import ConfigurationError
from celery_app.postgres.connection import Database
from celery_app.redaction import keep_name
from celery_app.security.guard import Subject, TokenRefused
from celery_app.security.policy import Decision, Request
from celery_app.store.records import iso

__all__ = ["AccessStore", "Token"]

_PREFIX = "aiat"
#: A token that was revoked is refused after so many seconds.
_LOOK_SECONDS = 2.0
_ADVICE = "`ai-agent token create` makes another one"


@dataclass(frozen=True)
class Token:
    """A token as it stands, without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    good: bool

    def as_json(self) -> dict[str, Any]:
        """Return the public document of a token."""
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "good": self.good,
            "created_at": iso(self.created_at),
            "expires_at": iso(self.expires_at),
            "revoked_at": iso(self.revoked_at),
        }


_ROWS = """
    SELECT id, name, scopes, created_at, expires_at, revoked_at, digest,
           revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) AS good
      FROM token
"""


class AccessStore:
    """Keeps tokens and denials.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self, name: str, scopes: Sequence[str] = (), seconds: float | None = None
    ) -> tuple[Token, str]:
        """Make a token that is good for so many seconds; return it and its text.

        Raises:
            ConfigurationError: The name is taken.
        """
        token_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        made = self.database.row(
            """
            INSERT INTO token (id, name, digest, scopes, expires_at)
            VALUES (:id, :name, :digest, :scopes, clock_timestamp() + make_interval(secs => :seconds))
            ON CONFLICT DO NOTHING RETURNING id
            """,
            id=token_id,
            name=name,
            digest=_digest(secret),
            scopes=list(scopes),
            seconds=seconds,
        )
        if made is None:
            raise ConfigurationError(f"there is a token {name!r} already: choose another name")
        return self._known(token_id), f"{_PREFIX}_{token_id}_{secret}"

    def tokens(self) -> list[Token]:
        """Return all tokens, the oldest first."""
        return [_token(row) for row in self.database.rows(f"{_ROWS} ORDER BY created_at, id")]

    def revoke(self, name: str) -> Token:
        """Make a token useless from now on. Raises `ConfigurationError` if there is none."""
        row = self.database.row(
            """
            UPDATE token SET revoked_at = coalesce(revoked_at, clock_timestamp())
             WHERE name = :name OR id = :name RETURNING id
            """,
            name=name,
        )
        if row is None:
            raise ConfigurationError(
                f"there is no token {name!r}: `ai-agent token list` shows those there are"
            )
        return self._known(row.id)

    def holder(self, text: str) -> Callable[[], Subject]:
        """Return what tells who holds a token, and looks again every few seconds whether it is good."""
        seen: tuple[float, Subject] | None = None

        def look() -> Subject:
            nonlocal seen
            now = time.monotonic()
            if seen is None or now >= seen[0] + _LOOK_SECONDS:
                seen = now, self.subject(text)
            return seen[1]

        return look

    def subject(self, text: str) -> Subject:
        """Return who holds a token.

        Raises:
            TokenRefused: It is none of ours, has expired, or was revoked.
        """
        prefix, _, rest = text.partition("_")
        token_id, _, secret = rest.partition("_")
        found = self._find(token_id) if prefix == _PREFIX else None
        if found is None or not hmac.compare_digest(found[1], _digest(secret)):
            raise TokenRefused(f"the token is none of this system: {_ADVICE}")
        token, _ = found
        keep_name(token.name)
        if not token.good:
            ended = "was revoked" if token.revoked_at else f"expired at {iso(token.expires_at)}"
            raise TokenRefused(f"token {token.name} {ended}: {_ADVICE}", f"token:{token.name}")
        return Subject(f"token:{token.name}", token.scopes)

    def record(self, subject: str, request: Request, decision: Decision) -> None:
        """Keep that something was denied."""
        self.database.rows(
            """
            INSERT INTO access_log (subject, action, resource, rule, why)
            VALUES (:subject, :action, :resource, :rule, :why)
            """,
            subject=subject,
            action=request.action,
            resource=request.resource,
            rule=decision.rule,
            why=decision.why,
        )

    def denials(self, limit: int = 100) -> list[dict[str, Any]]:
        """Return what was denied last, newest first."""
        rows = self.database.rows(
            "SELECT at, subject, action, resource, rule, why FROM access_log ORDER BY id DESC LIMIT :limit",
            limit=limit,
        )
        return [{**row._asdict(), "at": iso(row.at)} for row in rows]

    def _known(self, token_id: str) -> Token:
        return _token(self.database.row(f"{_ROWS} WHERE id = :id", id=token_id))

    def _find(self, token_id: str) -> tuple[Token, str] | None:
        row = self.database.row(f"{_ROWS} WHERE id = :id", id=token_id)
        return None if row is None else (_token(row), row.digest)


def _token(row: Any) -> Token:
    return Token(
        row.id,
        row.name,
        tuple(row.scopes),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.good,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
