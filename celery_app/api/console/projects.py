"""/console/projects: goals, the plan in time as it stands, what it has taken, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any
from xml.etree import ElementTree

from fastapi import Form, Request
from markupsafe import Markup
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.console.rendering import page, see
from celery_app.api.console.tasks import may
from celery_app.api.papers import Words
from celery_app.local_desk import LocalDesk
from celery_app.store.budgets import Budget
from celery_app.store.documents import DocumentVersion
from workflows.artifact import ProjectArtifact
from workflows.document import DocumentationType
from workflows.errors import IllegalTransition, InvalidProject, InvalidTask
from workflows.gantt import rows
from workflows.gantt_svg import drawn
from workflows.project import Project, ProjectGoal
from workflows.timeline import Timeline

__all__ = ["address"]

_WIDTH = 80


def listed(request: Request, desk: Asking) -> Response:
    """Show all projects."""
    return page(request, "projects.html", projects=desk.projects())


def show(request: Request, desk: Asking, project: Words) -> Response:
    """Show a project."""
    return _project_page(request, desk, project)


def run(
    request: Request,
    desk: Asking,
    project: Words,
    goals: Annotated[list[str], Form(max_length=100)] = [],  # noqa: B006 - the framework takes it as it is
) -> Response:
    """Start the work on goals: on those that are chosen, or on all that have no result."""
    try:
        run_id = desk.run_project(project, goals)
    except (InvalidProject, IllegalTransition) as error:
        return _project_page(request, desk, project, str(error))
    return see(f"/console/tasks/{run_id}", "begun")


def accept(desk: Asking, project: Words, goal: Words) -> Response:
    """Accept the result of a goal."""
    desk.accept_goal(project, goal)
    return see(address(project), "accepted")


def address(project: str) -> str:
    """Return where a project is shown."""
    return f"/console/projects/{project}"


def _project_page(
    request: Request, desk: LocalDesk, name: str, error: str | None = None
) -> Response:
    project = desk.project(name)
    figures = desk.project_manager.figures(project.name)
    timeline = project.timeline
    return page(
        request,
        "project.html",
        422 if error else 200,
        project=project,
        address=address(project.name),
        error=error,
        goals=[_goal(project, goal, figures.risks) for goal in project.goals],
        reached=sum(project.standing(goal.name).state == "reached" for goal in project.goals),
        figures=figures,
        budget=_budget(desk, project.name),
        timeline=timeline,
        gantt=None if timeline is None else _gantt(timeline, project.name),
        items=[] if timeline is None else [_item(timeline, row.item) for row in _rows(timeline)],
        artifacts=_newest(project.artifacts),
        documents=_documents(desk, project.name),
        types=list(DocumentationType),
    )


def _goal(project: Project, goal: ProjectGoal, risks: dict[str, str]) -> dict[str, Any]:
    """Return a goal as a row: how it stands, what its checks said, when it is likely to be reached."""
    standing = project.standing(goal.name)
    timeline = project.timeline
    end = None
    if timeline is not None and standing.state != "reached":
        milestone = next((each for each in timeline.items if each.id == goal.name), None)
        end = None if milestone is None else timeline.moment(milestone.finish)
    return {
        "name": goal.name,
        "description": goal.description,
        "needs": goal.needs,
        "deadline": goal.deadline,
        "state": standing.state,
        "checks": [(str(check), standing.checks.get(str(check))) for check in goal.acceptance],
        "accepted_by": standing.accepted_by,
        "reached_at": standing.reached_at,
        "run": standing.run,
        "expected": end,
        "risk": risks.get(goal.name),
    }


def _rows(timeline: Timeline) -> list[Any]:
    return rows(timeline, _WIDTH)


def _item(timeline: Timeline, item: Any) -> dict[str, Any]:
    return {
        "title": item.title,
        "goal": item.goal,
        "is_goal": item.id == item.goal,
        "state": item.standing,
        "start": item.start,
        "finish": item.finish,
        "took": item.finish - item.start,
        "slack": item.slack,
        "critical": item.id in timeline.critical_path,
    }


def _gantt(timeline: Timeline, name: str) -> Markup:
    """Return the timeline as a part of a page."""
    picture = drawn(timeline, name)
    picture.set("class", "gantt")
    picture.set("aria-label", f"Timeline of {name}. The table below says the same.")
    # It was escaped when it was made.
    return Markup(ElementTree.tostring(picture, encoding="unicode"))  # noqa: S704


def _budget(desk: LocalDesk, project: str) -> Budget | None:
    try:
        return desk.project_budget(project)
    except InvalidTask:
        # It has none.
        return None


def _newest(artifacts: list[ProjectArtifact]) -> list[tuple[ProjectArtifact, int]]:
    """Return the newest artifact of each name, and how many there are of it."""
    found: dict[str, tuple[ProjectArtifact, int]] = {}
    for each in artifacts:
        known, count = found.get(each.name, (each, 0))
        found[each.name] = (max(known, each, key=lambda one: one.created_at), count + 1)
    return list(found.values())


def _documents(desk: LocalDesk, project: str) -> list[DocumentVersion]:
    if not may(desk, "document.read", f"document:{project}/*"):
        return []
    return [each for each in desk.documents.versions(project) if each.holds]
