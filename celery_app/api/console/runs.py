"""/console/runs/ID: a run of a workflow: its steps drawn, what it asks, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Form, Query, Request
from starlette.responses import Response

from celery_app.api import streams
from celery_app.api.asking import Asking
from celery_app.api.console.artifacts import brought_forth
from celery_app.api.console.graph import critical_way, look_of, picture_of_run
from celery_app.api.console.rendering import page, see
from celery_app.api.console.rows import rows_of
from celery_app.api.console.tasks import log_lines, may
from celery_app.api.console.words import seconds_between
from celery_app.api.papers import Identified, LastEvent
from celery_app.local_desk import LocalDesk
from workflows.artifact import ProjectArtifact
from workflows.state import TaskState

__all__ = ["run_page"]


def show(request: Request, desk: Asking, run_id: Identified) -> Response:
    """Show a run."""
    return run_page(request, desk, run_id)


def run_page(
    request: Request, desk: LocalDesk, run_id: Identified, error: str | None = None
) -> Response:
    """Return the page of a run; with what was wrong with an answer to it."""
    document = desk.tree("run", run_id)
    workflow = desk.definition(run_id)
    times = {step["id"]: (step["started_at"], step["finished_at"]) for step in document["steps"]}
    critical = critical_way(workflow.needs, times)
    looks = {
        step["id"]: look_of(step, _address(step), critical=step["id"] in critical)
        for step in document["steps"]
    }
    state = TaskState(document["state"])
    events = desk.events("run", run_id, 0)
    return page(
        request,
        "run.html",
        422 if error else 200,
        run=document,
        error=error,
        graph=picture_of_run(workflow, looks),
        rows=rows_of([_row(step) for step in document["steps"]], critical),
        events=events,
        artifacts=_artifacts(desk, run_id),
        logs=log_lines(desk, trace_id=str(run_id)),
        seconds=seconds_between(document["created_at"], document["finished_at"]),
        is_open=not state.is_final,
        can_resume=state in (TaskState.FAILED, TaskState.CANCELLED),
        stream=f"/console/runs/{run_id}/events?after={events[-1]['id'] if events else 0}",
    )


async def events(
    request: Request,
    desk: Asking,
    run_id: Identified,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    text: bool = False,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """Tell what happens in a run, for the page that is open."""
    return await streams.run_events(request, desk, "run", run_id, after, text)


def cancel(desk: Asking, run_id: Identified) -> Response:
    """Cancel a run."""
    desk.cancel("run", run_id)
    return see(f"/console/runs/{run_id}", "cancelled")


def resume(desk: Asking, run_id: Identified) -> Response:
    """Go on with a run that failed or was cancelled."""
    desk.resume(run_id)
    return see(f"/console/runs/{run_id}", "resumed")


def fork(
    desk: Asking, run_id: Identified, step: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """Start a new run that reuses what has not changed, anew from a step on if one is named."""
    forked = desk.fork(run_id, step or None, inputs=None, workflow=None)
    return see(f"/console/runs/{forked}", "forked")


def _artifacts(desk: LocalDesk, run_id: UUID) -> list[ProjectArtifact]:
    """Return what a run has brought forth; to see its task is another permission than to see the run."""
    return brought_forth(desk, run_id) if may(desk, "task.read", f"task:{run_id}") else []


def _address(step: Mapping[str, Any]) -> str:
    """Return where a step is shown: the page of its task, or of the run that it is."""
    return f"/console/tasks/{step['task_id']}"


def _row(step: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **step,
        "address": _address(step),
        "metadata": {"title": step["id"]},
        "description": "",
        "task": None,
        "type": step["kind"],
    }
