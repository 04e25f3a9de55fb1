"""A deadline of a project that is likely to be missed is told while there is time, and ends nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celery_app.celery import database, projects
from celery_app.client import Client
from celery_app.orchestrator.project_deadlines import ProjectDeadlines
from celery_app.orchestrator.project_manager import ProjectManager
from tests.leftovers import begin_anew, cancel_leftovers
from tests.projects.conftest import Spec
from workflows.project import Project


@pytest.fixture(autouse=True, scope="module")
def _unmeasured(client: Client) -> None:
    """Nothing was measured that would correct estimates."""
    cancel_leftovers(client)
    begin_anew()


@pytest.fixture(autouse=True)
def _alone(client: object) -> None:
    """No other project has a deadline."""
    database.rows("UPDATE project SET due = NULL")


def due(**ahead: float) -> datetime:
    return datetime.now(UTC) + timedelta(**ahead)


def made(manager: ProjectManager, spec: Spec, **changed: object) -> Project:
    goals = [
        {"name": "facts", "description": "List facts", "estimate": "1h"},
        {"name": "report", "description": "Report", "needs": ["facts"], "estimate": "1h"},
    ]
    return manager.create(spec(**{"goals": goals, "inputs": [], **changed}))


def look() -> int:
    return ProjectDeadlines(database).look()


def events(project: Project) -> list[Any]:
    return list(
        database.rows(
            "SELECT task_id, kind FROM event WHERE root_id = :id AND kind = 'at-risk'",
            id=str(project.id),
        )
    )


def test_it_is_told_once_while_there_is_time(manager: ProjectManager, spec: Spec) -> None:
    project = made(manager, spec, deadline=due(minutes=30))
    assert look() == 1
    assert look() == 0
    assert [event.task_id for event in events(project)] == [str(project.id)]
    risks = manager.figures(project.name).risks
    assert risks.keys() == {""}
    assert risks[""].startswith("will probably miss its deadline: it is due 20")
    assert "of the likely courses end later" in risks[""]
    assert projects.newest()[0].risk == risks[""]


def test_what_can_be_done_in_time_is_not(manager: ProjectManager, spec: Spec) -> None:
    project = made(manager, spec, deadline=due(days=30))
    assert look() == 0
    assert events(project) == []


def test_the_deadline_of_a_goal_counts_for_itself(manager: ProjectManager, spec: Spec) -> None:
    goals = [
        {"name": "facts", "description": "F", "estimate": "1h", "deadline": due(days=1)},
        {"name": "report", "description": "R", "estimate": "1h", "deadline": due(minutes=1)},
    ]
    project = made(manager, spec, goals=goals)
    assert look() == 1
    assert manager.figures(project.name).risks.keys() == {"report"}


def test_a_deadline_that_is_put_off_is_told_no_more(manager: ProjectManager, spec: Spec) -> None:
    project = made(manager, spec, deadline=due(minutes=30))
    look()
    goals = [goal.model_dump() for goal in project.goals]
    manager.change(spec(goals=goals, inputs=[], deadline=due(days=30)))
    assert look() == 1
    assert manager.figures(project.name).risks == {}


def test_what_is_over_is_called_missed(manager: ProjectManager, spec: Spec) -> None:
    project = made(manager, spec, deadline=due(minutes=-1))
    look()
    assert manager.figures(project.name).risks[""].startswith("has missed its deadline")


def test_who_is_bold_is_told_later(manager: ProjectManager, spec: Spec) -> None:
    bold = made(manager, spec, deadline=due(hours=2, minutes=10), alerts={"risk": 0.9})
    assert bold.timeline is not None
    assert bold.timeline.likely.p90 > 2 * 3600 + 600
    assert look() == 0
