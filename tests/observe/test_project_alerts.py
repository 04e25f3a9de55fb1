"""What a project is to be told of fires once, is over when it is not so any more, and names the project."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import event

from agents.scripted import ScriptedModel
from celery_app.celery import database, projects
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.errors import TaskFailed
from celery_app.handles import TaskHandle
from celery_app.orchestrator import budgets
from celery_app.orchestrator.project_deadlines import ProjectDeadlines
from celery_app.orchestrator.project_manager import ProjectManager
from celery_app.store.alert_look import Alert
from celery_app.store.project_watch import ProjectWatch
from tests.leftovers import begin_anew, cancel_leftovers
from tests.observe.alert_desk import HOOK, NOTIFY, Desk, kinds
from tests.projects.conftest import answering, at_work, talking
from workflows.project import Project, ProjectSpec

pytestmark = pytest.mark.timeout(240)

__all__ = ["answering", "at_work", "talking"]


@pytest.fixture(autouse=True, scope="module")
def _unmeasured(client: Client) -> None:
    """Nothing was measured by other tests that would correct estimates."""
    cancel_leftovers(client)
    begin_anew()


@pytest.fixture
def manager(client: Client) -> ProjectManager:
    """Plans by rules: its model gives no plan that can be used."""
    return ProjectManager(model=ScriptedModel(rules=[lambda _: "no plan at all"]))


@pytest.fixture
def desk(client: Client, tmp_path: Path) -> Iterator[Desk]:
    """A rule about deadlines, and a notifier that projects may name; no other project has a deadline."""
    database.rows("UPDATE project SET due = NULL, risk = NULL")
    yield Desk(tmp_path, f"  - {{name: NAME, kind: deadline, {NOTIFY}}}", HOOK)


def spec(name: str, **changed: object) -> ProjectSpec:
    goal = {"name": "facts", "description": "List facts", "estimate": "1h"}
    return ProjectSpec.model_validate(
        {"name": name, "description": "A study", "goals": [goal], **changed}
    )


def named() -> str:
    return f"study-{uuid4().hex[:8]}"


def alerts_of(desk: Desk, project: str) -> dict[str, Alert]:
    desk.look()
    return {alert.about: alert for alert in reversed(desk.found(f"project:{project}"))}


def goals(acceptance: str) -> list[dict[str, Any]]:
    return [
        {"name": "facts", "description": "List facts", "acceptance": [{"contains": acceptance}]},
        {"name": "other", "description": "List risks"},
    ]


def run(manager: ProjectManager, project: Project) -> None:
    TaskHandle(manager.run(project.name)).result(timeout=60)


@pytest.mark.usefixtures("at_work")
def test_failed_tasks_fire_once_until_their_goal_is_worked_on_again(
    manager: ProjectManager, desk: Desk
) -> None:
    name = named()
    told = {"alerts": {"notify": [desk.to]}}
    project = manager.create(spec(name, goals=goals("never said"), **told))
    assert alerts_of(desk, name) == {}
    with pytest.raises(TaskFailed):
        run(manager, project)
    fired = alerts_of(desk, name)
    assert {about: alert.message for about, alert in fired.items()} == {
        "failed_tasks": f"project {name}: failed tasks that keep goals from being reached: 1"
    }
    assert alerts_of(desk, name) == fired, "it fires once however often somebody looks"
    assert kinds(desk.told()) == ["firing"]
    assert desk.told()[0]["rule"] == f"project:{name}"
    run(manager, manager.change(spec(name, goals=goals("it is"), **told)))
    assert not alerts_of(desk, name)["failed_tasks"].is_open
    assert kinds(desk.told()) == ["firing", "resolved"]


@pytest.mark.usefixtures("at_work")
def test_a_budget_fires_while_its_share_is_used_up(manager: ProjectManager, desk: Desk) -> None:
    name = named()
    limits = {"budget": {"model_calls": 12, "tokens": 1_000_000}}
    alerts = {"budget": 0.5, "notify": [desk.to]}
    project = manager.create(spec(name, resources=limits, alerts=alerts))
    assert budgets.standing(f"project:{name}").used_calls == 4, "that is what planning took"
    assert alerts_of(desk, name) == {}
    run(manager, project)
    (alert,) = alerts_of(desk, name).values()
    used = 4 + manager.figures(name).calls
    assert (alert.about, alert.is_open) == ("budget=calls", True)
    assert alert.message == f"project {name}: {used} of 12 calls are used, 50% are told of"
    assert alerts_of(desk, name) == {"budget=calls": alert}
    budgets.give(f"project:{name}", calls=1000)
    assert not alerts_of(desk, name)["budget=calls"].is_open
    assert kinds(desk.told()) == ["firing", "resolved"]


def test_what_a_project_finds_at_once_is_told_at_once(manager: ProjectManager, desk: Desk) -> None:
    limits = {"budget": {"model_calls": 10, "tokens": 100}}
    name = named()
    manager.create(spec(name, resources=limits, alerts={"notify": [desk.to]}))
    database.rows(
        "UPDATE budget SET used_calls = 8, used_tokens = 80 WHERE id = :id", id=f"project:{name}"
    )
    assert alerts_of(desk, name).keys() == {"budget=calls", "budget=tokens"}
    (told,) = desk.told()
    assert {each["about"] for each in told["alerts"]} == {"budget=calls", "budget=tokens"}


def test_a_project_is_silenced_by_its_name(manager: ProjectManager, desk: Desk) -> None:
    name = named()
    limits = {"budget": {"tokens": 100}}
    manager.create(spec(name, resources=limits, alerts={"notify": [desk.to]}))
    words = ["alerts", "silence", f"project:{name}", "--about", "budget=*", "--for", "1h"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    database.rows("UPDATE budget SET used_tokens = 80 WHERE id = :id", id=f"project:{name}")
    (alert,) = alerts_of(desk, name).values()
    assert alert.silenced
    assert desk.told() == []


def test_who_wants_to_be_told_of_nothing_is_not(manager: ProjectManager, desk: Desk) -> None:
    name = named()
    never = {"budget": None, "failed_tasks": None}
    manager.create(spec(name, resources={"budget": {"tokens": 10}}, alerts=never))
    database.rows("UPDATE budget SET used_tokens = 10 WHERE id = :id", id=f"project:{name}")
    assert alerts_of(desk, name) == {}
    manager.change(spec(name, resources={"budget": {"tokens": 10}}))
    (alert,) = alerts_of(desk, name).values()
    told = database.row("SELECT notifier FROM notification ORDER BY id DESC LIMIT 1")
    assert (alert.about, told.notifier) == ("budget=tokens", "log")


def test_many_projects_are_looked_at_by_one_statement(client: Client) -> None:
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    for _ in range(20):
        projects.add(uuid4(), spec(named()))
    with database.session() as connection:
        event.listen(connection, "before_cursor_execute", note)
        assert len(ProjectWatch(connection).all()) >= 20
    assert len(statements) == 1


def test_a_deadline_of_a_project_that_does_not_run_is_over_when_its_risk_is_gone(
    manager: ProjectManager, desk: Desk
) -> None:
    name = named()
    now = datetime.now(UTC)
    manager.create(spec(name, deadline=now + timedelta(minutes=5)))
    # A worker of other tests may have looked before: what counts is that it is known now.
    ProjectDeadlines(database).look()
    (alert,) = desk.look()
    assert (alert.about, alert.is_open) == (f"project={name}", True)
    assert alert.message.startswith(f"project {name}: will probably miss its deadline")
    assert desk.look() == [alert]
    manager.change(spec(name, deadline=now + timedelta(days=30)))
    ProjectDeadlines(database).look()
    assert [each.is_open for each in desk.look()] == [False]
    assert kinds(desk.told()) == ["firing", "resolved"]
