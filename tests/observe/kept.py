"""What tests say to the log, and what of it was kept."""

from __future__ import annotations

from uuid import uuid4

from celery_app.celery import logs
from celery_app.store.logs import LogFilter, StoredEvent


def said(name: str) -> str:
    """Return a name that nobody else uses."""
    return f"{name}-{uuid4().hex[:8]}"


def of(task_id: str, limit: int = 20_000) -> list[StoredEvent]:
    return logs.find(LogFilter(task_id=task_id), limit=limit)


def messages(events: list[StoredEvent]) -> list[str]:
    return [each.event.event.message for each in events]
