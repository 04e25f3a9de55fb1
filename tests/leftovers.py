"""What tests have left open in the servers that they share."""

from __future__ import annotations

from celery_app.client import Client

__all__ = ["OPEN", "cancel_leftovers"]

OPEN = (
    "SELECT id, root_id, name, state FROM task "
    "WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped')"
)


def cancel_leftovers(client: Client) -> None:
    """Cancel all runs that are not over: they would go on beside what is tested."""
    from celery_app.celery import database

    for root_id in {row.root_id for row in database.rows(OPEN)}:
        client.task(root_id).cancel()
