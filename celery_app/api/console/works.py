"""/: what was handed in, tasks and runs, the newest first, and the form that hands in more."""

from __future__ import annotations

from enum import StrEnum
from secrets import token_urlsafe
from typing import Annotated, Any

from fastapi import Request
from starlette.responses import Response

from celery_app.api import streams
from celery_app.api.asking import Asking
from celery_app.api.console.rendering import page
from celery_app.api.console.words import seconds_between
from celery_app.api.papers import Key, LastEvent
from celery_app.local_desk import LocalDesk
from celery_app.orchestrator.questions import Questions
from celery_app.store.pages import PageStore, Work
from workflows.state import TaskState
from workflows.task import Priority

__all__ = ["Chosen", "events", "listed", "work_page"]

_AT_ONCE = 30


class Chosen(StrEnum):
    """Which work is to be seen."""

    ALL = "all"
    OPEN = "open"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATES: dict[Chosen, set[TaskState]] = {
    Chosen.ALL: set(TaskState),
    Chosen.OPEN: {state for state in TaskState if not state.is_final},
    Chosen.SUCCEEDED: {TaskState.SUCCEEDED},
    Chosen.FAILED: {TaskState.FAILED},
    Chosen.CANCELLED: {TaskState.CANCELLED, TaskState.SKIPPED},
}


def listed(
    request: Request, desk: Asking, show: Chosen = Chosen.ALL, cursor: Key = None
) -> Response:
    """Show what was handed in."""
    return work_page(request, desk, show, cursor)


def work_page(
    request: Request,
    desk: LocalDesk,
    show: Chosen = Chosen.ALL,
    cursor: str | None = None,
    *,
    error: str | None = None,
    given: dict[str, Any] | None = None,
) -> Response:
    """Return the page of all work; with what was wrong with a job, and what it was."""
    pages = PageStore(desk.manager.store.database)
    found, behind = pages.works(_STATES[show], desk.manager.levels(), cursor, _AT_ONCE)
    return page(
        request,
        "works.html",
        422 if error else 200,
        works=[_row(work) for work in found],
        behind=behind,
        first=cursor is None,
        show=show,
        choices=list(Chosen),
        questions=len(Questions(desk.permissions).open()),
        priorities=list(Priority),
        error=error,
        once=token_urlsafe(16),
        given={"description": "", "priority": "normal", "plan": "", **(given or {})},
    )


async def events(
    request: Request,
    desk: Asking,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """Tell what happens, for the pages that are open."""
    return await streams.all_events(request, desk)


def _row(work: Work) -> dict[str, Any]:
    record = work.record
    return {
        **record.as_json(),
        "workflow": work.workflow,
        "address": f"/console/{'runs' if work.workflow else 'tasks'}/{record.id}",
        "done": work.done,
        "whole": work.whole,
        "created_at": record.created_at,
        "seconds": seconds_between(record.created_at, record.finished_at),
    }
