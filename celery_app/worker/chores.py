"""Small tasks without a model: for demonstrations, benchmarks and checks of an installation.

They are claimed, leased and fenced like every step of a graph.
"""

from __future__ import annotations

import threading
from typing import Any

from celery import shared_task

from celery_app.errors import TaskFailed
from celery_app.worker.execution import current_execution


@shared_task(name="chore.sleep")
def sleep(seconds: float) -> float:
    """Wait; a cancelled task stops waiting at once. Returns the seconds asked for."""
    execution = current_execution()
    ended = execution.lease.ended if execution else threading.Event()
    ended.wait(seconds)
    return seconds


@shared_task(name="chore.echo")
def echo(value: Any) -> Any:
    """Return the value."""
    return value


@shared_task(name="chore.fail")
def fail(message: str) -> None:
    """Fail with the message."""
    raise TaskFailed(message)
