from __future__ import annotations

import asyncio

import pytest

from agents.scripted import ScriptedModel
from celery_app.orchestrator.project_manager import ProjectManager
from tests.projects.conftest import TEXT, Spec
from workflows.errors import IllegalTransition, InvalidProject
from workflows.project import ProjectGoal, ProjectSpec

INPUTS = {"notes.md": TEXT}


def test_as_the_specification_says(manager: ProjectManager, spec: Spec) -> None:
    project = asyncio.run(manager.create_project(spec(), INPUTS))
    assert manager.projects[project.id].name == project.name
    assert project.id in manager.projects
    assert manager.task_manager.tasks is not None
    assert project.plan is not None
    assert project.timeline is not None
    assert [goal.name for goal in project.goals] == ["facts", "risks", "report"]


def test_a_changed_goal_is_planned_again_and_no_other(
    manager: ProjectManager, model: ScriptedModel, spec: Spec
) -> None:
    told: list[str] = []
    first = manager.create(spec(), INPUTS, lambda goal, _: told.append(goal))
    assert told == ["facts", "risks", "report"]
    calls = len(model.requests)
    assert calls > 0
    manager.change(spec(), INPUTS, lambda goal, _: told.append(goal))
    assert len(model.requests) == calls
    assert len(told) == 3
    goals = [goal.model_dump() for goal in first.goals]
    goals[1]["description"] = "List the costs of keeping pets"
    second = manager.change(spec(goals=goals), on_goal=lambda goal, _: told.append(goal))
    assert told[3:] == ["risks"]
    assert len(model.requests) > calls
    assert first.plan is not None
    assert second.plan is not None
    for goal in ("facts", "report"):
        assert second.plan.goals[goal] == first.plan.goals[goal]
    assert second.plan.goals["risks"] != first.plan.goals["risks"]
    assert second.revision == first.revision + 2


def test_who_is_late_is_told(manager: ProjectManager, spec: Spec) -> None:
    from celery_app.celery import projects

    project = manager.create(spec(), INPUTS)
    assert project.plan is not None
    projects.change(project, project.spec, project.plan)
    with pytest.raises(IllegalTransition, match="changed by somebody else"):
        projects.change(project, project.spec, project.plan)


def test_a_name_is_taken_once(manager: ProjectManager, spec: Spec) -> None:
    manager.create(spec(), INPUTS)
    with pytest.raises(InvalidProject, match="there is a project 'study-"):
        manager.create(spec(), INPUTS)


def test_an_input_that_is_missing_is_named(manager: ProjectManager, spec: Spec) -> None:
    with pytest.raises(InvalidProject, match=r"needs the input notes\.md: give its text"):
        manager.create(spec())


def test_goals_that_need_each_other_are_named() -> None:
    goals = [
        ProjectGoal(name="a", description="A", needs=["c"]),
        ProjectGoal(name="b", description="B", needs=["a"]),
        ProjectGoal(name="c", description="C", needs=["b"]),
    ]
    with pytest.raises(ValueError, match="circle, a -> c -> b -> a: drop one"):
        ProjectSpec(name="round", description="R", goals=goals)
