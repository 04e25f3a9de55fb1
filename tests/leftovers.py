"""What tests have left in the servers that they share."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from celery_app.client import Client
from celery_app.stack.profile import is_embedded

__all__ = ["OPEN", "begin_anew", "cancel_leftovers"]

OPEN = (
    "SELECT id, root_id, name, state FROM task "
    "WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped')"
)


def cancel_leftovers(client: Client) -> None:
    """Cancel all runs that are not over: they would go on beside what is tested."""
    from celery_app.celery import database

    for root_id in {row.root_id for row in database.rows(OPEN)}:
        client.task(root_id).cancel()


def begin_anew() -> None:
    """Empty every table, for tests of all that there is, or of what was never there before.

    Skips the test on servers that are not the session's own.
    """
    from celery_app.celery import database, prepare

    if not is_embedded():
        pytest.skip("it empties the database, so it wants one of its own")
    prepare()
    tables = database.rows(
        "SELECT tablename AS name FROM pg_tables "
        # These begin with rows of their own.
        "WHERE schemaname = 'public' AND tablename NOT IN ('schema_migration', 'alert_look')"
    )

    def empty(connection: Connection) -> None:
        # Past the triggers of the journals, as their owner can.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(row.name for row in tables)}"))

    database.transaction(empty)
