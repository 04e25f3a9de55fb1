"""/console/workflows: what there is to run, a form that runs it, and what starts it by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.console.graph import picture_of_run
from celery_app.api.console.inputs import fields_of, given
from celery_app.api.console.rendering import page, see
from celery_app.api.console.tasks import may
from celery_app.api.console.words import seconds_between
from celery_app.api.papers import Words
from celery_app.api.workflows import named
from celery_app.local_desk import LocalDesk
from workflows.errors import InvalidInputs, InvalidWorkflow
from workflows.workflow import Workflow

__all__ = ["address"]

_LAST_RUNS = 10


async def _fields(request: Request) -> dict[str, str]:
    """Return what a form has sent."""
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


Fields = Annotated[dict[str, str], Depends(_fields)]


def listed(request: Request, desk: Asking) -> Response:
    """Show the workflows of the files."""
    found = desk.workflows()
    known = {each.name for each in found}
    broken = [
        name
        for name in desk.files.names
        if name not in known and may(desk, "workflow.read", f"workflow:{name}")
    ]
    return page(
        request, "workflows.html", workflows=[_row(desk, each) for each in found], broken=broken
    )


def show(request: Request, desk: Asking, name: Words) -> Response:
    """Show a workflow, or what is wrong with its file."""
    try:
        workflow = named(desk, name)
    except InvalidWorkflow as invalid:
        return page(request, "faults.html", 422, name=name, problems=invalid.problems)
    return _workflow_page(request, desk, workflow)


def start(request: Request, desk: Asking, name: Words, form: Fields) -> Response:
    """Start a run with what the form says."""
    workflow = named(desk, name)
    try:
        run_id = desk.start(workflow, given(workflow, form))
    except InvalidInputs as error:
        return _workflow_page(request, desk, workflow, str(error), form)
    return see(f"/console/runs/{run_id}", "started")


def pause(desk: Asking, name: Words, trigger_id: Words) -> Response:
    """Stop a trigger."""
    desk.triggers.pause(name, trigger_id)
    return see(address(name), "paused")


def resume(desk: Asking, name: Words, trigger_id: Words) -> Response:
    """Let a trigger go on."""
    desk.triggers.resume(name, trigger_id)
    return see(address(name), "goes-on")


def address(name: str) -> str:
    """Return where a workflow is shown."""
    return f"/console/workflows/{name}"


def _workflow_page(
    request: Request,
    desk: LocalDesk,
    workflow: Workflow,
    error: str | None = None,
    form: Mapping[str, str] | None = None,
) -> Response:
    runs = desk.runs(workflow.name, _LAST_RUNS)
    return page(
        request,
        "workflow.html",
        422 if error else 200,
        workflow=workflow,
        definition=workflow.plain(),
        address=address(workflow.name),
        graph=picture_of_run(workflow, {}),
        fields=fields_of(workflow, form),
        error=error,
        triggers=desk.triggers.listed(workflow.name),
        runs=[_run(each) for each in runs],
    )


def _row(desk: LocalDesk, workflow: Workflow) -> dict[str, Any]:
    triggers = desk.triggers.listed(workflow.name, 1)
    runs = desk.runs(workflow.name, 1)
    return {
        "name": workflow.name,
        "description": workflow.description,
        "address": address(workflow.name),
        "steps": len(workflow.steps),
        "next": min((time for each in triggers for time in each["next"]), default=None),
        "triggers": triggers,
        "last": runs[0] if runs else None,
    }


def _run(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "seconds": seconds_between(run["created_at"], run["finished_at"])}
