"""The events of a run, as lines, while they happen."""

from __future__ import annotations

from collections.abc import Callable

import click

from celery_app.celery import database, store
from celery_app.cli.options import JsonObject
from celery_app.cli.progress import FINAL, LONGEST_LOOK, Pushes
from celery_app.client import TaskHandle

__all__ = ["follow_events", "print_event"]


def print_event(event: JsonObject) -> None:
    """Print one event on one line."""
    cause = f"  because of {event['cause']}" if event["cause"] else ""
    click.echo(f"{event['at']}  {event['kind']:<10} {event['task_id']}{cause}")


def follow_events(handle: TaskHandle, tell: Callable[[JsonObject], None]) -> None:
    """Tell each event of the task's run until the run is over."""
    root_id = store.get(str(handle.id)).root_id
    pushes = Pushes(database)
    last = 0
    try:
        while True:
            # Looked at before the events are: whatever ended it is then among them.
            over = store.get(root_id).state in FINAL
            for event in handle.events(last):
                tell(event)
                last = event["id"]
                pushes.known.add(event["task_id"])
            if over:
                return
            pushes.wait(LONGEST_LOOK)
    finally:
        pushes.close()
