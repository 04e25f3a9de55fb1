"""Where it runs: the Celery app and everything that needs a server.

A lazy front door (PEP 562): nothing is imported, started or connected until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_app.aio import AsyncClient
    from celery_app.celery import app
    from celery_app.client import Client
    from celery_app.handles import RunHandle, TaskHandle
    from celery_app.orchestrator.task_manager import TaskManager
    from celery_app.orchestrator.workflow_engine import WorkflowEngine
    from celery_app.queues import PriorityQueue

__version__ = "0.1.0"

_HOMES = {
    "app": "celery_app.celery",
    "AsyncClient": "celery_app.aio",
    "Client": "celery_app.client",
    "TaskHandle": "celery_app.handles",
    "RunHandle": "celery_app.handles",
    "TaskManager": "celery_app.orchestrator.task_manager",
    "WorkflowEngine": "celery_app.orchestrator.workflow_engine",
    "PriorityQueue": "celery_app.queues",
}

__all__ = [
    "AsyncClient",
    "Client",
    "PriorityQueue",
    "RunHandle",
    "TaskHandle",
    "TaskManager",
    "WorkflowEngine",
    "app",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
