"""Every page of the console, on one page.

To add a room of pages, write its functions into a file of their own, list them here, and their way in among
`rendering.ROOMS`. Templates extend `base.html`. A part with `data-live` and an id is replaced while the page
is open, whenever something happens in the stream that `data-stream` of the page names; so it has to be there
from the beginning, even if it is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from celery_app.api import artifacts as artifact_routes
from celery_app.api import projects as project_routes
from celery_app.api.console import (
    alerts,
    approvals,
    artifacts,
    documents,
    hand_in,
    login,
    logs,
    projects,
    runs,
    system,
    tasks,
    workflows,
    works,
)
from celery_app.api.console.door import OpenPage, PageRoute
from celery_app.api.problems import Refusal

__all__ = ["OPEN", "PAGES", "Page", "add_console"]


@dataclass(frozen=True)
class Page:
    """A method and a path, and what answers."""

    method: str
    path: str
    answer: Callable[..., Any]


async def nothing(request: Request, rest: str) -> Response:
    """Say that there is no such page."""
    raise Refusal(
        404, "NotFound", f"no page is called /console/{rest[:200]}: the links above lead to all"
    )


#: What anybody may see.
OPEN = (
    Page("GET", "/console/login", login.show),
    Page("POST", "/console/login", login.enter),
    Page("POST", "/console/logout", login.leave),
)

#: What must be asked for by somebody.
PAGES = (
    Page("GET", "/", works.listed),
    Page("GET", "/console/events", works.events),
    Page("POST", "/console/tasks", hand_in.hand_in),
    Page("POST", "/console/plans/run", hand_in.run_plan),
    Page("GET", "/console/tasks/{task_id}", tasks.show),
    Page("GET", "/console/tasks/{task_id}/events", tasks.events),
    Page("POST", "/console/tasks/{task_id}/cancel", tasks.cancel),
    Page("POST", "/console/tasks/{task_id}/retry", tasks.retry),
    Page("GET", "/console/tasks/{task_id}/artifacts/{artifact_id}", artifacts.content),
    Page("GET", "/console/runs/{run_id}", runs.show),
    Page("GET", "/console/runs/{run_id}/events", runs.events),
    Page("POST", "/console/runs/{run_id}/cancel", runs.cancel),
    Page("POST", "/console/runs/{run_id}/resume", runs.resume),
    Page("POST", "/console/runs/{run_id}/fork", runs.fork),
    Page("POST", "/console/runs/{run_id}/steps/{step}/answer", approvals.answer),
    Page("GET", "/console/approvals", approvals.listed),
    Page("GET", "/console/projects", projects.listed),
    Page("GET", "/console/projects/{project}", projects.show),
    Page("GET", "/console/projects/{project}/timeline.svg", project_routes.picture),
    Page("POST", "/console/projects/{project}/runs", projects.run),
    Page("POST", "/console/projects/{project}/goals/{goal}/accept", projects.accept),
    Page("POST", "/console/projects/{project}/documents", documents.write),
    Page(
        "GET",
        "/console/projects/{project}/artifacts/{artifact:path}",
        artifact_routes.artifact_content,
    ),
    Page("GET", "/console/documents", documents.listed),
    Page("GET", "/console/documents/{project}/{type}", documents.show),
    Page("GET", "/console/documents/{project}/{type}/diff", documents.diff),
    Page("GET", "/console/documents/{project}/{type}/check", documents.check),
    Page("POST", "/console/documents/{project}/{type}/restore", documents.restore),
    Page("GET", "/console/workflows", workflows.listed),
    Page("GET", "/console/workflows/{name}", workflows.show),
    Page("POST", "/console/workflows/{name}/runs", workflows.start),
    Page("POST", "/console/workflows/{name}/triggers/{trigger_id}/pause", workflows.pause),
    Page("POST", "/console/workflows/{name}/triggers/{trigger_id}/resume", workflows.resume),
    Page("GET", "/console/system", system.show),
    Page("GET", "/console/alerts", alerts.listed),
    Page("POST", "/console/alerts/{alert}/resolve", alerts.resolve),
    Page("POST", "/console/alerts/silences", alerts.silence),
    Page("POST", "/console/alerts/silences/{silence}/end", alerts.end_silence),
    Page("GET", "/console/logs", logs.listed),
    Page("GET", "/console/logs/events", logs.events),
    Page("GET", "/console/{rest:path}", nothing),
)


def add_console(app: FastAPI) -> None:
    """Put the pages into an application."""
    app.mount("/console/static", _Static(directory=Path(__file__).parent / "static"))
    for pages, kind in ((OPEN, OpenPage), (PAGES, PageRoute)):
        for page in pages:
            _add(app, page, kind)


def _add(app: FastAPI, page: Page, kind: type[APIRoute]) -> None:
    app.router.add_api_route(
        page.path,
        page.answer,
        methods=[page.method],
        response_class=HTMLResponse,
        response_model=None,
        include_in_schema=False,
        route_class_override=kind,
    )


class _Static(StaticFiles):
    """The style and the script; browsers ask each time whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
