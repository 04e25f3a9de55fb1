"""/runs: start, look at, follow and steer runs of workflows."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Header, Query, Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.once import HEADER
from celery_app.api.papers import Answer, Fork, Identified, Key, LastEvent, Limit, RunStart, Words
from celery_app.api.route import document
from celery_app.api.tasks import Wait, came_of, happened
from celery_app.api.workflows import defined, meant, picture
from celery_app.local_desk import LocalDesk
from celery_app.store.pages import PageStore
from workflows.state import StepStatus, TaskState


def start(
    desk: Asking,
    run: RunStart,
    idempotency_key: Annotated[str | None, Header(alias=HEADER)] = None,
) -> Response:
    """Start a run of a workflow; it keeps the definition that it starts with."""
    run_id = desk.start(
        meant(desk, run),
        run.inputs,
        run_id=run.id,
        project=run.project,
        priority=run.priority,
        resources=run.resources,
    )
    return document(_standing(desk, run_id), 201)


def listed(
    desk: Asking,
    workflow: Annotated[Words | None, Query()] = None,
    state: TaskState | None = None,
    limit: Limit = 50,
    cursor: Key = None,
) -> Response:
    """List the runs that were started (none that are steps of others), the newest first."""
    desk.permissions.require("workflow.read", f"workflow:{workflow or '*'}")
    pages = PageStore(desk.manager.store.database)
    return document(pages.runs(workflow, state, cursor, limit).as_json())


def show(desk: Asking, run_id: Identified) -> Response:
    """Show a run: its steps with their tasks, and what it asks."""
    return document(desk.tree("run", run_id))


def state(desk: Asking, run_id: Identified) -> Response:
    """Tell the state alone."""
    return document({"state": desk.state("run", run_id)})


def definition(desk: Asking, run_id: Identified) -> Response:
    """Show the definition that a run keeps."""
    return document(desk.definition(run_id).plain())


def graph(
    desk: Asking,
    run_id: Identified,
    format: Literal["svg", "mermaid"] = "svg",  # noqa: A002 - a word for callers
) -> Response:
    """Draw a run, with the states of its steps as colours."""
    steps = desk.tree("run", run_id)["steps"]
    states = {step["id"]: StepStatus(step["state"]) for step in steps}
    return picture(desk.definition(run_id), states, format)


def cancel(desk: Asking, run_id: Identified) -> Response:
    """Cancel a run; what runs of it stops at once."""
    desk.cancel("run", run_id)
    return document(_standing(desk, run_id))


def resume(desk: Asking, run_id: Identified) -> Response:
    """Go on with a run that failed or was cancelled; results that still hold are kept."""
    desk.resume(run_id)
    return document(_standing(desk, run_id))


def fork(
    desk: Asking,
    run_id: Identified,
    fork: Fork,
    idempotency_key: Annotated[str | None, Header(alias=HEADER)] = None,
) -> Response:
    """Start a new run that reuses the results of this one wherever nothing has changed."""
    workflow = None if fork.workflow is None else defined(desk, fork.workflow)
    forked = desk.fork(run_id, fork.step, inputs=fork.inputs, workflow=workflow)
    return document(_standing(desk, forked), 201)


def approve(desk: Asking, run_id: Identified, step: Words, answer: Answer) -> Response:
    """Answer the question of a step with yes."""
    desk.answer(run_id, step, approved=True, answer=answer.answer, by=answer.by)
    return document(_standing(desk, run_id))


def reject(desk: Asking, run_id: Identified, step: Words, answer: Answer) -> Response:
    """Answer the question of a step with no."""
    desk.answer(run_id, step, approved=False, answer=answer.answer, by=answer.by)
    return document(_standing(desk, run_id))


async def result(request: Request, desk: Asking, run_id: Identified, wait: Wait = 0) -> Response:
    """Tell what came of a run; with `wait` as soon as it is over."""
    return await came_of(request, desk, "run", run_id, wait)


async def events(
    request: Request,
    desk: Asking,
    run_id: Identified,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    text: bool = False,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """Tell what happened in a run: as a list, or with `Accept: text/event-stream` as it happens."""
    return await happened(request, desk, "run", run_id, after, text)


def _standing(desk: LocalDesk, run_id: UUID) -> dict[str, str]:
    """Return what whoever may steer a run may know of it; to see it is another permission."""
    return {"id": str(run_id), "state": str(desk.manager.store.get(str(run_id)).state)}
