"""Runs of projects: what is worked on, what holds, and what is kept of it."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest

from celery_app.celery import artifacts, projects
from celery_app.errors import TaskFailed
from celery_app.handles import TaskHandle
from celery_app.orchestrator.project_artifacts import ProjectArtifacts
from celery_app.orchestrator.project_manager import ProjectManager
from celery_app.orchestrator.project_run import end_of
from celery_app.worker.goals import artifact_id
from tests.faults.model import AnsweringModel
from tests.projects.conftest import TEXT, Spec
from workflows.artifact import ArtifactType
from workflows.errors import IllegalTransition, InvalidProject
from workflows.project import Project

INPUTS = {"notes.md": TEXT}
pytestmark = pytest.mark.usefixtures("at_work")


def run(manager: ProjectManager, project: Project, *goals: str) -> UUID:
    """Run a project to its end."""
    run_id = manager.run(project.name, goals)
    TaskHandle(run_id).result(timeout=60)
    return run_id


def states(manager: ProjectManager, name: str) -> dict[str, str]:
    found = manager.get(name)
    return {goal.name: found.standing(goal.name).state for goal in found.goals}


def test_a_run_reaches_the_goals_and_keeps_what_came_of_them(
    manager: ProjectManager, spec: Spec
) -> None:
    name = manager.create(spec(), INPUTS).name
    run_id = run(manager, manager.get(name))
    project = manager.get(name)
    assert set(states(manager, name).values()) == {"reached"}
    assert project.runs == [run_id]
    kept = {each.name: each for each in project.artifacts}
    assert kept.keys() == {"notes.md", "facts", "risks", "report"}
    assert (kept["facts"].run, kept["facts"].task) == (run_id, end_of(run_id, "facts"))
    content = artifacts.read(kept["report"])
    assert b"It is so." in content
    assert kept["report"].sha256 == hashlib.sha256(content).hexdigest()
    assert kept["report"].type is ArtifactType.TEXT
    assert kept["report"].inputs
    assert project.timeline is not None
    assert {item.standing for item in project.timeline.items} == {"done"}
    assert project.timeline.duration > 0
    figures = manager.figures(name)
    assert figures.tasks == {"succeeded": len(project.timeline.items)}
    assert figures.calls > 0
    assert figures.prompt_tokens > 0
    assert figures.seconds > 0


def test_what_is_reached_is_not_worked_on_again_unless_somebody_says_so(
    manager: ProjectManager, spec: Spec, answering: AnsweringModel
) -> None:
    project = manager.create(spec(), INPUTS)
    first = run(manager, project)
    with pytest.raises(InvalidProject, match=r"all goals of project .* are reached"):
        manager.run(project.name)
    again = run(manager, project, "facts")
    assert states(manager, project.name) == {
        "facts": "reached",
        "risks": "reached",
        "report": "open",
    }
    asked = len(answering.asked)
    last = run(manager, project)
    assert states(manager, project.name)["report"] == "reached"
    words = answering.asked[asked][1]
    assert "facts" in words
    assert "risks" in words
    standings = manager.get(project.name).standings
    assert [standings[each].run for each in ("facts", "risks", "report")] == [again, first, last]


def test_a_changed_goal_opens_what_follows_from_it(manager: ProjectManager, spec: Spec) -> None:
    project = manager.create(spec(), INPUTS)
    run(manager, project)
    goals = [goal.model_dump() for goal in project.goals]
    goals[1]["description"] = "List the costs of keeping pets"
    manager.change(spec(goals=goals))
    assert states(manager, project.name) == {"facts": "reached", "risks": "open", "report": "open"}
    run_id = run(manager, project, "report")
    standings = manager.get(project.name).standings
    assert [standings[each].run == run_id for each in ("facts", "risks", "report")] == [
        False,
        True,
        True,
    ]


def test_a_result_that_fails_a_check_reaches_no_goal(manager: ProjectManager, spec: Spec) -> None:
    goals = [
        {"name": "facts", "description": "List facts", "acceptance": [{"min_words": 100_000}]},
        {"name": "report", "description": "Write a report", "needs": ["facts"]},
    ]
    project = manager.create(spec(goals=goals), INPUTS)
    with pytest.raises(TaskFailed, match="fails the check min_words 100000"):
        run(manager, project)
    found = manager.get(project.name)
    assert states(manager, project.name) == {"facts": "failed", "report": "failed"}
    assert found.standing("facts").checks == {"min_words 100000": False}
    assert "facts" in {each.name for each in found.artifacts}
    with pytest.raises(IllegalTransition, match="waits for nobody: it is failed"):
        manager.accept(project.name, "facts")


def test_a_person_accepts(manager: ProjectManager, spec: Spec) -> None:
    acceptance = [{"contains": "it is"}, {"person": "Is it true?"}]
    goals = [{"name": "facts", "description": "List facts", "acceptance": acceptance}]
    project = manager.create(spec(goals=goals), INPUTS)
    run(manager, project)
    assert states(manager, project.name) == {"facts": "to-accept"}
    manager.accept(project.name, "facts")
    standing = manager.get(project.name).standing("facts")
    assert standing.state == "reached"
    assert standing.accepted_by == manager.permissions.name
    assert standing.checks == {'contains "it is"': True, 'person "Is it true?"': None}
    with pytest.raises(IllegalTransition, match="it is reached"):
        manager.accept(project.name, "facts")


def test_a_goal_is_worked_on_by_one_run(manager: ProjectManager, spec: Spec) -> None:
    project = manager.create(spec(), INPUTS)
    projects.begin(project, "00000000-0000-4000-8000-000000000001", {"facts": "nobody"})
    with pytest.raises(IllegalTransition, match=r"goal facts of project .* is being worked on"):
        manager.run(project.name)
    # A run that never came to be stands in the way for a minute.
    projects.database.rows("UPDATE goal SET begun_at = begun_at - interval '61 seconds'")
    run(manager, project)


def test_a_run_that_is_refused_leaves_the_goals_open(
    manager: ProjectManager, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = manager.create(spec(), INPUTS)

    def refuse(_: object) -> UUID:
        raise TaskFailed("no")

    monkeypatch.setattr(manager.task_manager, "submit", refuse)
    with pytest.raises(TaskFailed):
        manager.run(project.name)
    assert set(states(manager, project.name).values()) == {"open"}


def test_records_become_a_table(manager: ProjectManager, spec: Spec) -> None:
    project = manager.create(spec(), INPUTS)
    own = ProjectArtifacts(manager.permissions)
    kinds = {
        "plan.png": (b"\x89PNG\r\n\x1a\n\0", ArtifactType.IMAGE),
        "prices.csv": (b"a,b\n1,2\n", ArtifactType.TABLE),
        "facts.json": (b'{"a": 1}', ArtifactType.JSON),
        "notes.txt": (b"Cats.", ArtifactType.TEXT),
        "data.bin": (b"\x01\0\xff", ArtifactType.FILE),
    }
    for name, (content, kind) in kinds.items():
        assert own.add(project.name, name, content).type is kind, name
        assert own.newest(project.name, name)[1] == content
    assert artifact_id(UUID(int=1)) != artifact_id(UUID(int=2))
