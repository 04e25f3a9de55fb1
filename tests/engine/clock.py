"""A clock that tests move, and what was started on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from workflows.definitions import load


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def nothing(name: str) -> Any:
    """Find no workflow: none is asked for."""
    raise AssertionError(name)


def started(workflow: str) -> list[str]:
    """Return the keys of what the one trigger of a workflow has started."""
    from celery_app.celery import triggers

    [trigger] = triggers.triggers(workflow=workflow)
    return [row.key for row in triggers.started(workflow, trigger.id)]


def scheduled(name: str, trigger: str) -> Any:
    """Return a workflow of one step with a trigger."""
    return load(
        f"name: {name}\ntriggers: [{{{trigger}}}]\nsteps: [{{id: a, task: chore.echo, args: [1]}}]"
    )
