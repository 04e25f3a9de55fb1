"""An engine that knows the workflows of the cases."""

from __future__ import annotations

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


def seen_steps(document: dict[str, Any]) -> dict[str, str]:
    """Return how the steps of a run stand, skipped ones with the reason."""
    return {
        step["id"]: f"{step['state']} {step['reason']}"
        if step["state"] == "skipped"
        else step["state"]
        for step in document["steps"]
    }
