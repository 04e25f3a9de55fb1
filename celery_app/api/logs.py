"""/logs: what was said, by whom, about which task."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.papers import Limit, Place, Words
from celery_app.api.route import document
from celery_app.observe.log_reader import LogReader
from celery_app.store.logs import LogFilter
from celery_app.store.pages import numbered
from workflows.storable import Moment


def listed(
    desk: Asking,
    task: Annotated[UUID | None, Query(description="Said within this task.")] = None,
    run: Annotated[UUID | None, Query(description="Said within this run.")] = None,
    agent: Annotated[Words | None, Query(description="Said while this agent worked.")] = None,
    level: Literal["debug", "info", "warning", "error", "critical"] = "debug",
    since: Annotated[Moment | None, Query(description="Not before.")] = None,
    limit: Limit = 100,
    cursor: Place = None,
) -> Response:
    """List what was said and is at least so bad, the newest first."""
    wanted = LogFilter(
        task_id=None if task is None else str(task),
        trace_id=None if run is None else str(run),
        agent_id=agent,
        level=level.upper(),
        since=since,
    )
    found = LogReader(desk.permissions).find(wanted, limit + 1, cursor)
    return document(numbered([each.as_json() for each in reversed(found)], limit).as_json())
