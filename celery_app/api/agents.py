"""/agents, /tools and /models: who works here, and with what."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from celery_app import celery
from celery_app.api.asking import Asking
from celery_app.api.papers import Budget, Words
from celery_app.api.route import document


def agents(desk: Asking) -> Response:
    """List the agents with their types, models and capabilities."""
    desk.permissions.require("system.read", "system:agents")
    return document([each.model_dump(mode="json") for each in celery.agent_manager().profiles])


def tools(desk: Asking) -> Response:
    """List the tools that agents may be given."""
    desk.permissions.require("system.read", "system:tools")
    return document(sorted(celery.tool_catalogue().names))


def models(desk: Asking) -> Response:
    """Make sure that the models of the roster are to be had; says which is not (503)."""
    desk.permissions.require("system.read", "system:models")
    desk.check_models()
    return document(sorted({each.model for each in celery.agent_manager().profiles}))


def counts(desk: Asking) -> Response:
    """Tell how many tasks are in which state."""
    desk.permissions.require("system.read", "system:status")
    return document(desk.manager.store.counts())


def budget(desk: Asking, project: Words) -> Response:
    """Tell what the tasks of a project have used up, and what they may."""
    return document(_budget(desk, project))


def set_budget(desk: Asking, project: Words, budget: Budget) -> Response:
    """Set what all tasks of a project together may use up."""
    desk.set_project_budget(
        project, tokens=budget.tokens, calls=budget.calls, seconds=budget.seconds
    )
    return Response(status_code=204)


def _budget(desk: Asking, project: str) -> dict[str, Any]:
    return asdict(desk.project_budget(project))
