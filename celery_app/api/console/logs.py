"""/console/logs: what was said last, by level, task, run and agent; live while the page is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api import streams
from celery_app.api.asking import Asking
from celery_app.api.console.rendering import page
from celery_app.api.papers import Hint, LastEvent, Place
from celery_app.local_desk import LocalDesk
from celery_app.observe.log_reader import LogReader
from celery_app.store.logs import LogFilter

__all__: list[str] = []

_AT_ONCE = 200
_SINCE = {
    "any": None,
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
}

Level = Literal["debug", "info", "warning", "error", "critical"]


def _wanted(
    task: Hint = "",
    run: Hint = "",
    agent: Hint = "",
    level: Level = "debug",
    since: Annotated[str, Query(pattern="^(any|15m|1h|24h)$")] = "any",
) -> dict[str, str]:
    """Return what a form says that is wanted."""
    return {"level": level, "task": task, "run": run, "agent": agent, "since": since}


Wanted = Annotated[dict[str, str], Depends(_wanted)]


def listed(request: Request, desk: Asking, wanted: Wanted, cursor: Place = None) -> Response:
    """Show what was said, the newest first."""
    found = LogReader(desk.permissions).find(_filter(desk, wanted), _AT_ONCE + 1, cursor)
    lines = [each.as_json() for each in reversed(found)][:_AT_ONCE]
    more = len(found) > _AT_ONCE
    query = urlencode(wanted)
    return page(
        request,
        "logs.html",
        lines=lines,
        wanted=wanted,
        levels=("debug", "info", "warning", "error", "critical"),
        times=list(_SINCE),
        query=query,
        behind=lines[-1]["id"] if more else None,
        first=cursor is None,
        stream=f"/console/logs/events?{query}" if cursor is None else None,
    )


async def events(
    request: Request,
    desk: Asking,
    wanted: Wanted,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """Tell what is being said, for the page that is open."""
    chosen = await run_in_threadpool(_filter, desk, wanted)
    return await streams.log_events(request, desk, chosen, 0)


def _filter(desk: LocalDesk, wanted: dict[str, str]) -> LogFilter:
    back = _SINCE[wanted["since"]]
    return LogFilter(
        task_id=_id(desk, wanted["task"]),
        trace_id=_id(desk, wanted["run"]),
        agent_id=wanted["agent"].strip() or None,
        level=wanted["level"].upper(),
        since=None if back is None else datetime.now(UTC) - back,
    )


def _id(desk: LocalDesk, beginning: str) -> str | None:
    """Return the whole id of what is known by its beginning; anything else stays as it is."""
    given = beginning.strip().lower()
    if not given:
        return None
    found: list[Any] = desk.manager.store.find(given)
    return str(found[0]) if len(found) == 1 else given
