"""/tasks: hand in, look at, follow and end tasks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Header, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api import streams
from celery_app.api.asking import Asking
from celery_app.api.once import HEADER
from celery_app.api.papers import Gift, Identified, Key, LastEvent, Limit, Words
from celery_app.api.patience import patiently
from celery_app.api.route import document
from celery_app.desk import Kind
from celery_app.desk import Outcome as Came
from celery_app.local_desk import LocalDesk
from celery_app.security.policy import request
from celery_app.store.pages import PageStore, TaskFilter
from workflows.state import TaskState
from workflows.task import Priority, Task, TaskType

__all__ = ["Wait", "came_of", "happened"]

EXAMPLES = {
    "job": {
        "summary": "A job in words",
        "value": {"description": "Name five rivers of Europe", "priority": "high", "plan": False},
    },
    "chore": {
        "summary": "A registered Celery task",
        "value": {"task": "chore.echo", "args": ["hello"]},
    },
    "graph": {
        "summary": "A graph: its result is a dict of results by id",
        "value": {
            "description": "two in a row",
            "subtasks": [
                {"id": "00000000-0000-4000-8000-000000000001", "task": "chore.echo", "args": [1]},
                {
                    "id": "00000000-0000-4000-8000-000000000002",
                    "task": "chore.echo",
                    "args": [2],
                    "dependencies": ["00000000-0000-4000-8000-000000000001"],
                },
            ],
        },
    },
}

Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the end.")]
Submission = Annotated[Task, Body(openapi_examples=EXAMPLES)]


def submit(
    desk: Asking,
    task: Submission,
    idempotency_key: Annotated[str | None, Header(alias=HEADER)] = None,
) -> Response:
    """Hand in a task, or with `subtasks` a graph; it is stored when this returns, and not waited for."""
    return document(_standing(desk, desk.submit(task)), 201)


async def plan(desk: Asking, task: Submission) -> Response:
    """Have a job planned and priced, and run nothing."""
    return document(await patiently(lambda: desk.plan(task)))


def listed(
    desk: Asking,
    state: TaskState | None = None,
    type: TaskType | None = None,  # noqa: A002 - the field's name everywhere
    agent: Annotated[Words | None, Query()] = None,
    priority: Priority | None = None,
    requested_by: Annotated[Words | None, Query()] = None,
    limit: Limit = 50,
    cursor: Key = None,
) -> Response:
    """List the tasks that were handed in (no subtasks), the newest first."""
    wanted = TaskFilter(state, type, agent, priority, requested_by)
    pages = PageStore(desk.manager.store.database)
    return document(pages.tasks(wanted, desk.manager.levels(), cursor, limit).as_json())


def show(desk: Asking, task_id: Identified) -> Response:
    """Show a task with its plan, its calls, its budgets, and all below it."""
    return document(desk.tree("task", task_id))


def state(desk: Asking, task_id: Identified) -> Response:
    """Tell the state alone."""
    return document({"state": desk.state("task", task_id)})


def cancel(desk: Asking, task_id: Identified) -> Response:
    """Cancel a task and everything below it; what runs is stopped at once."""
    desk.cancel("task", task_id)
    return document(_standing(desk, task_id))


def retry(desk: Asking, task_id: Identified) -> Response:
    """Try again what failed or was cancelled; what succeeded is kept."""
    desk.retry(task_id)
    return document(_standing(desk, task_id))


def give(desk: Asking, task_id: Identified, gift: Gift) -> Response:
    """Add to the budget of a task; what waited for it goes on."""
    desk.give(task_id, tokens=gift.tokens, calls=gift.calls, seconds=gift.seconds)
    return document(_standing(desk, task_id))


async def result(request: Request, desk: Asking, task_id: Identified, wait: Wait = 0) -> Response:
    """Tell what came of a task; with `wait` as soon as it is over."""
    return await came_of(request, desk, "task", task_id, wait)


async def events(
    request: Request,
    desk: Asking,
    task_id: Identified,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    text: bool = False,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """Tell what happened in the run: as a list, or with `Accept: text/event-stream` as it happens."""
    return await happened(request, desk, "task", task_id, after, text)


async def happened(
    asked: Request, desk: LocalDesk, kind: Kind, task_id: UUID, after: int, text: bool
) -> Response:
    """Return the events of a run in the form that is asked for."""
    if streams.MEDIA in asked.headers.get("accept", ""):
        return await streams.run_events(asked, desk, kind, task_id, after, text)
    found = await run_in_threadpool(desk.events, kind, task_id, after)
    return document(found)


async def came_of(
    asked: Request, desk: LocalDesk, kind: Kind, task_id: UUID, wait: float
) -> Response:
    """Return the outcome, waiting without a thread until it is there or the time is over."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait

    def look() -> Came:
        return desk.outcome(kind, task_id, 0)

    hub = asked.app.state.hub
    async with hub.end_of(str(task_id)) as ended:
        outcome = await run_in_threadpool(look)
        while not outcome.over and (left := until - loop.time()) > 0 and not hub.closed:
            ended.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), min(left, 5.0))
            outcome = await run_in_threadpool(look)
    return document(_outcome(outcome))


def _standing(desk: LocalDesk, task_id: UUID) -> dict[str, Any]:
    """Return the document of a task, or its state alone to those who may steer but not see it."""
    record = desk.manager.store.get(str(task_id))
    level = desk.manager.store.level(record.id)
    if desk.permissions.decide(request("task.read", f"task:{task_id}", (), level)).allowed:
        return record.as_json()
    return {"id": record.id, "state": str(record.state)}


def _outcome(outcome: Came) -> dict[str, Any]:
    error = outcome.error
    told = None if error is None else {"kind": type(error).__name__, "detail": str(error)}
    return {"state": outcome.state, "over": outcome.over, "result": outcome.result, "error": told}
