"""/logs: what was said, by whom, about which task."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api import streams
from celery_app.api.asking import Asking
from celery_app.api.papers import LastEvent, Limit, Place, Words
from celery_app.api.route import document
from celery_app.observe.log_reader import LogReader
from celery_app.store.logs import LogFilter
from celery_app.store.pages import numbered
from workflows.storable import Moment


async def listed(
    request: Request,
    desk: Asking,
    task: Annotated[UUID | None, Query(description="Said within this task.")] = None,
    run: Annotated[UUID | None, Query(description="Said within this run.")] = None,
    agent: Annotated[Words | None, Query(description="Said while this agent worked.")] = None,
    level: Literal["debug", "info", "warning", "error", "critical"] = "debug",
    since: Annotated[Moment | None, Query(description="Not before.")] = None,
    limit: Limit = 100,
    cursor: Place = None,
    last_event_id: Annotated[str | None, LastEvent] = None,
) -> Response:
    """List what was said, the newest first; with `Accept: text/event-stream` tell it as it is said."""
    wanted = LogFilter(
        task_id=None if task is None else str(task),
        trace_id=None if run is None else str(run),
        agent_id=agent,
        level=level.upper(),
        since=since,
    )
    if streams.MEDIA in request.headers.get("accept", ""):
        return await streams.log_events(request, desk, wanted, limit)
    reader = LogReader(desk.permissions)
    found = await run_in_threadpool(reader.find, wanted, limit + 1, cursor)
    return document(numbered([each.as_json() for each in reversed(found)], limit).as_json())
