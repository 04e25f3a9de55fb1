"""Journals that a test writes, seals, tampers with and verifies."""

from __future__ import annotations

from sqlalchemy import text

from celery_app.orchestrator.audit import Keeper
from celery_app.orchestrator.audit_check import Report, Verifier
from celery_app.postgres.connection import Database
from celery_app.security.keys import KeyRing
from celery_app.security.signer import Signer
from celery_app.store.audit import AuditStore
from celery_app.store.journals import JOURNALS


def wipe(database: Database) -> None:
    """Leave no journal, and nothing that vouches for one."""
    journals = ", ".join(journal.table for journal in JOURNALS)
    tamper(database, f"TRUNCATE {journals}, stretch, checkpoint, audit_head, task")


def tamper(database: Database, *statements: str) -> None:
    """Write to the database as its owner can, past every trigger."""
    with database.session() as session:
        session.execute(text("SET session_replication_role = replica"))
        for statement in statements:
            session.execute(text(statement))
        session.execute(text("RESET session_replication_role"))


def keeper(database: Database, ring: KeyRing | None, rows: int = 10) -> Keeper:
    """Return what seals and cuts the events in short stretches."""
    return Keeper(AuditStore(database), Signer(ring), JOURNALS[:1], rows)


def verify(database: Database, ring: KeyRing | None, *heads: str) -> Report:
    """Return what is found in the events."""
    [report] = Verifier(AuditStore(database), Signer(ring), JOURNALS[:1]).verify(heads)
    return report


def write(database: Database, count: int) -> None:
    """Write events, each in a transaction of its own."""
    for n in range(count):
        database.rows(
            "INSERT INTO event (task_id, root_id, kind, cause) VALUES (:task, 'r', 'queued', NULL)",
            task=f"t{n}",
        )


def head_of(database: Database) -> str:
    found = AuditStore(database).head(JOURNALS[0])
    assert found is not None
    return found[0].digest.hex()


def ids(database: Database) -> list[int]:
    return [row.id for row in database.rows("SELECT id FROM event ORDER BY id")]
