"""`TaskWork`: what one task was given, and what models said to it, for whoever may read the task."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery_app.celery import guard, store
from celery_app.security.guard import Guard
from celery_app.store.journal import JournalStore

__all__ = ["TaskWork"]


class TaskWork:
    """Looks into the work of a task.

    Args:
        permissions: Says whether whoever asks may; by default the user of this process.
    """

    def __init__(self, permissions: Guard | None = None) -> None:
        self._permissions = permissions or guard()
        self._journal = JournalStore(store.database)

    def of(self, task_id: UUID | str) -> dict[str, Any]:
        """Return what a task was given, and the calls of its models with their answers.

        `description` and `inputs` are the job, or `args` and `kwargs` those of a Celery task, `calls` as
        in the document of the task, each with its `text`.

        Raises:
            UnknownTask: There is none with this id.
            PermissionDenied: It is not for whoever asks.
        """
        self._permissions.require("task.read", f"task:{task_id}", level=store.level(str(task_id)))
        spec = store.get(str(task_id)).spec
        return {
            "description": spec.get("description", ""),
            "inputs": spec.get("inputs", []),
            "output": spec.get("output"),
            "args": spec.get("args", []),
            "kwargs": spec.get("kwargs", {}),
            "project": spec.get("project"),
            "calls": self._journal.answers(str(task_id)),
        }
