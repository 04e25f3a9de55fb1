"""Where it runs: the Celery app and everything that needs a server.

A lazy front door (PEP 562): nothing is imported, started or connected until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery_app.celery import app
    from celery_app.client import Client
    from celery_app.handles import RunHandle, TaskHandle
    from celery_app.orchestrator.task_manager import TaskManager
    from celery_app.orchestrator.workflow_engine import WorkflowEngine
    from celery_app.queues import PriorityQueue
    from celery_app.testing.environment import TestEnvironment
    from celery_app.testing.framework import AgentTestFramework
    from celery_app.testing.results import TestError, TestResult, TestResults, TestStatus
    from celery_app.testing.suite import TestCase, TestStep, TestSuite

__version__ = "0.1.0"

_HOMES = {
    "app": "celery_app.celery",
    "Client": "celery_app.client",
    "TaskHandle": "celery_app.handles",
    "RunHandle": "celery_app.handles",
    "TaskManager": "celery_app.orchestrator.task_manager",
    "WorkflowEngine": "celery_app.orchestrator.workflow_engine",
    "PriorityQueue": "celery_app.queues",
    "AgentTestFramework": "celery_app.testing.framework",
    "TestEnvironment": "celery_app.testing.environment",
    "TestCase": "celery_app.testing.suite",
    "TestError": "celery_app.testing.suite",
    "TestResult": "celery_app.testing.suite",
    "TestResults": "celery_app.testing.suite",
    "TestStatus": "celery_app.testing.suite",
    "TestStep": "celery_app.testing.suite",
    "TestSuite": "celery_app.testing.suite",
}

__all__ = [
    "AgentTestFramework",
    "Client",
    "PriorityQueue",
    "RunHandle",
    "TaskHandle",
    "TaskManager",
    "TestCase",
    "TestEnvironment",
    "TestError",
    "TestResult",
    "TestResults",
    "TestStatus",
    "TestStep",
    "TestSuite",
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
