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
    from celery_app.observe.batch import AgentMetrics, MetricsBatch
    from celery_app.observe.collectors import BaseCollector
    from celery_app.observe.log_manager import LogManager
    from celery_app.observe.metrics_collector import MetricsCollector
    from celery_app.observe.processors import LogProcessor
    from celery_app.orchestrator.documentation_manager import DocumentationManager
    from celery_app.orchestrator.project_manager import ProjectManager
    from celery_app.orchestrator.task_manager import TaskManager
    from celery_app.orchestrator.workflow_engine import WorkflowEngine
    from celery_app.queues import PriorityQueue
    from celery_app.records import EnrichedLogEvent, LogContext, LogEvent
    from celery_app.store.logs import LogStore
    from celery_app.store.metrics import MetricsStore
    from celery_app.testing.environment import TestEnvironment
    from celery_app.testing.framework import AgentTestFramework
    from celery_app.testing.results import TestError, TestResult, TestResults, TestStatus
    from celery_app.testing.suite import TestCase, TestStep, TestSuite

__version__ = "0.1.0"

_HOMES = {
    "app": "celery_app.celery",
    "AsyncClient": "celery_app.aio",
    "Client": "celery_app.client",
    "TaskHandle": "celery_app.handles",
    "RunHandle": "celery_app.handles",
    "DocumentationManager": "celery_app.orchestrator.documentation_manager",
    "ProjectManager": "celery_app.orchestrator.project_manager",
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
    "LogManager": "celery_app.observe.log_manager",
    "LogProcessor": "celery_app.observe.processors",
    "LogStore": "celery_app.store.logs",
    "LogEvent": "celery_app.records",
    "LogContext": "celery_app.records",
    "EnrichedLogEvent": "celery_app.records",
    "MetricsCollector": "celery_app.observe.metrics_collector",
    "MetricsBatch": "celery_app.observe.batch",
    "AgentMetrics": "celery_app.observe.batch",
    "BaseCollector": "celery_app.observe.collectors",
    "MetricsStore": "celery_app.store.metrics",
}

__all__ = [
    "AgentMetrics",
    "AgentTestFramework",
    "AsyncClient",
    "BaseCollector",
    "Client",
    "DocumentationManager",
    "EnrichedLogEvent",
    "LogContext",
    "LogEvent",
    "LogManager",
    "LogProcessor",
    "LogStore",
    "MetricsBatch",
    "MetricsCollector",
    "MetricsStore",
    "PriorityQueue",
    "ProjectManager",
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
