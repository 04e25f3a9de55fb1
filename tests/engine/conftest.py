"""An engine that knows the workflows of the cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from celery_app.client import Client
from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.cases import CASES, INNER
from workflows.workflow import Workflow


@pytest.fixture(scope="session")
def engine(client: Client) -> WorkflowEngine:
    """An engine on the session's servers."""
    known: dict[UUID, Workflow] = {}
    for workflow in [INNER.workflow("inner"), *(c.workflow(name) for name, c in CASES.items())]:
        known[workflow.id] = workflow
    return WorkflowEngine(known)


def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)


def seen_steps(document: dict[str, Any]) -> dict[str, str]:
    """Return how the steps of a run stand, skipped ones with the reason."""
    return {
        step["id"]: f"{step['state']} {step['reason']}"
        if step["state"] == "skipped"
        else step["state"]
        for step in document["steps"]
    }


@pytest.fixture
def nothing_left(client: Client) -> Iterator[None]:
    """Take the test's workflows out, and cancel what they started."""
    yield
    from celery_app.celery import triggers

    triggers.forget(list(triggers.registered()))
    for run in client.runs(limit=10_000):
        if run["trigger"] and run["state"] not in ("succeeded", "failed", "cancelled"):
            client.run(run["id"]).cancel()
