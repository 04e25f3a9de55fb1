"""/console/tasks/ID: one task: the graph below it, what it was asked, what models said, what came of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from celery_app.api import streams
from celery_app.api.asking import Asking
from celery_app.api.console.artifacts import brought_forth
from celery_app.api.console.graph import critical_tasks, picture_of_tasks
from celery_app.api.console.rendering import page, see
from celery_app.api.console.rows import rows_of
from celery_app.api.console.words import seconds_between, title
from celery_app.api.papers import Identified, LastEvent
from celery_app.local_desk import LocalDesk
from celery_app.observe.log_reader import LogReader
from celery_app.orchestrator.task_work import TaskWork
from celery_app.security.policy import request as asked
from celery_app.store.logs import LogFilter
from celery_app.store.runs import RunStore
from workflows.state import TaskState

__all__ = ["log_lines", "may"]

_MOST_LINES = 200
_MOST_ROWS = 300


def show(request: Request, desk: Asking, task_id: Identified) -> Response:
    """Show a task; of one that is a run of a workflow, the page of the run."""
    store = desk.manager.store
    known = RunStore(store.database)
    if known.is_run(str(task_id)):
        return see(f"/console/runs/{task_id}")
    document = desk.tree("task", task_id)
    record = store.get(str(task_id))
    critical = critical_tasks(document)
    state = TaskState(document["state"])
    happened = desk.events("task", task_id, 0)
    below = {document["id"], *(task["id"] for task in document["tasks"])}
    return page(
        request,
        "task.html",
        task=document,
        heading=title(document),
        work=TaskWork(desk.permissions).of(task_id),
        above=_above(desk, record.root_id, record.parent_id),
        seconds=seconds_between(record.created_at, record.finished_at),
        created_at=record.created_at,
        graph=picture_of_tasks(document, critical),
        rows=rows_of(document["tasks"][:_MOST_ROWS], critical),
        events=[event for event in happened if event["task_id"] in below],
        artifacts=brought_forth(desk, task_id),
        logs=log_lines(desk, task_id=str(task_id)),
        is_open=not state.is_final,
        # A run is gone on with as a whole.
        can_retry=state in (TaskState.FAILED, TaskState.CANCELLED)
        and not known.is_run(record.root_id),
        stream=f"/console/tasks/{task_id}/events?after={happened[-1]['id'] if happened else 0}",
    )


async def events(
    request: Request,
    desk: Asking,
    task_id: Identified,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    text: bool = False,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """Tell what happens in the run of a task, for the page that is open."""
    return await streams.run_events(request, desk, "task", task_id, after, text)


def cancel(desk: Asking, task_id: Identified) -> Response:
    """Cancel a task and all below it."""
    desk.cancel("task", task_id)
    return see(f"/console/tasks/{task_id}", "cancelled")


def retry(desk: Asking, task_id: Identified) -> Response:
    """Try again what failed or was cancelled."""
    desk.retry(task_id)
    return see(f"/console/tasks/{task_id}", "retried")


def log_lines(desk: LocalDesk, **wanted: str) -> list[dict[str, Any]] | None:
    """Return what was said within a task or a run, the oldest first; None to those who may not know."""
    if not may(desk, "system.read", "system:logs"):
        return None
    found = LogReader(desk.permissions).find(LogFilter(**wanted), _MOST_LINES)  # type: ignore[arg-type]
    return [each.as_json() for each in found]


def may(desk: LocalDesk, action: str, resource: str) -> bool:
    """Tell whether whoever asks may do something; nobody is told that they asked."""
    return desk.permissions.decide(asked(action, resource)).allowed


def _above(desk: LocalDesk, root_id: str, parent_id: str | None) -> list[dict[str, Any]]:
    """Return what a task is a part of, the whole first."""
    store = desk.manager.store
    ids = dict.fromkeys(each for each in (root_id, parent_id) if parent_id and each)
    return [store.get(each).as_json() for each in ids]
