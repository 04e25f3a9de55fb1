"""/projects: goals that become a plan, are worked on, and give results that are kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.once import HEADER
from celery_app.api.papers import Goals, ProjectWish, Words
from celery_app.api.patience import patiently
from celery_app.api.route import document
from celery_app.local_desk import LocalDesk
from celery_app.project_handle import timeline_of
from workflows.errors import InvalidProject
from workflows.gantt_svg import gantt_svg
from workflows.project import ProjectSpec
from workflows.project_file import load

__all__ = ["SVG"]

SVG = "image/svg+xml"

Once = Annotated[str | None, Header(alias=HEADER)]


def listed(desk: Asking) -> Response:
    """List the projects, the newest first: how many of their goals are reached, what is at risk."""
    shown = [
        {**asdict(each), "id": str(each.id), "created_at": each.created_at.isoformat()}
        for each in desk.projects()
    ]
    return document(shown)


async def create(desk: Asking, wish: ProjectWish, idempotency_key: Once = None) -> Response:
    """Create a project and have its goals planned, which takes a model's time. Nothing runs yet."""
    spec = _meant(wish)

    def made() -> Response:
        desk.create_project(spec, wish.inputs, None)
        return document(desk.project_document(spec.name), 201)

    return await patiently(made)


async def change(desk: Asking, project: Words, wish: ProjectWish) -> Response:
    """Change a project, and plan anew what that touches; inputs that are not given stay as they are."""
    spec = _meant(wish)
    if spec.name != project:
        raise InvalidProject(f"project: it is called {spec.name}, and the address says {project}")

    def changed() -> Response:
        desk.change_project(spec, wish.inputs, None)
        return document(desk.project_document(project))

    return await patiently(changed)


def show(desk: Asking, project: Words) -> Response:
    """Show a project: its goals with their checks, its plan and timeline, and what it has taken."""
    return document(desk.project_document(project))


def timeline(request: Request, desk: Asking, project: Words) -> Response:
    """Tell a plan in time as it stands now; with `Accept: image/svg+xml` as a picture."""
    if SVG in request.headers.get("accept", ""):
        return picture(desk, project)
    return document(timeline_of(desk.project(project)).model_dump(mode="json"))


def picture(desk: Asking, project: Words) -> Response:
    """Draw a plan in time."""
    return Response(gantt_svg(timeline_of(desk.project(project)), project), media_type=SVG)


def run(desk: Asking, project: Words, goals: Goals, idempotency_key: Once = None) -> Response:
    """Start the work on the goals that have no result, or on those that are named."""
    run_id = desk.run_project(project, goals.goals)
    return document({"id": str(run_id), "state": _state(desk, str(run_id))}, 201)


def accept(desk: Asking, project: Words, goal: Words) -> Response:
    """Accept the result of a goal that only people can judge."""
    desk.accept_goal(project, goal)
    return Response(status_code=204)


def _meant(wish: ProjectWish) -> ProjectSpec:
    """Return the project that is meant. Raises `InvalidProject` with all that is wrong with it."""
    if (wish.project is None) == (wish.text is None):
        raise InvalidProject("give `project` (its keys) or `text` (as YAML)")
    return load(json.dumps(wish.project) if wish.text is None else wish.text, wish.file)


def _state(desk: LocalDesk, run_id: str) -> str:
    """Return what whoever may start a run may know of it; to see it is another permission."""
    return str(desk.manager.store.get(run_id).state)
