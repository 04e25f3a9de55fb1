"""Small work for graphs of tests, and how it goes by the words of a worker."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.worker_process import WorkerProcess

__all__ = ["TWO_SLOTS", "chore", "lives", "received"]

#: A worker that does two tasks at once.
TWO_SLOTS = ("-c", "2")


def chore(name: str, value: Any, *needed: dict[str, Any]) -> dict[str, Any]:
    """Return a task as it is handed in, of one of the chores that the system brings."""
    return {
        "id": str(uuid4()),
        "task": f"chore.{name}",
        "args": [value],
        "dependencies": [task["id"] for task in needed],
    }


def received(worker: WorkerProcess, task_id: str) -> int:
    """How often a worker was given the message of a task."""
    return worker.text().count(f"[{task_id}] received")


def lives(worker: WorkerProcess) -> bool:
    """Whether a worker is there."""
    return worker.process.poll() is None
