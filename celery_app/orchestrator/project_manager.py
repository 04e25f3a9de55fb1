"""`ProjectManager`: goals become a plan, the plan becomes one graph of tasks, and its timeline is told.

Invariants
  * A goal that is reached, from just what it is made of now, is not worked on again: a run has the
    goals that are not, and is given the results of those that are.
  * Task ids follow from the run and the plan, so the timeline finds each task of the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4, uuid5

from agents.model import ChatModel
from agents.planner import goal_task
from celery_app.celery import (
    agent_manager,
    artifacts,
    database,
    guard,
    projects,
)
from celery_app.handles import TaskHandle
from celery_app.orchestrator import budgets
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.security.guard import Guard
from celery_app.store.journal import JournalStore
from celery_app.worker.binding import chat_model
from workflows.artifact import ArtifactType, ProjectArtifact
from workflows.errors import InvalidProject
from workflows.estimates import Estimator
from workflows.plan import Plan
from workflows.project import Project, ProjectGoal, ProjectSpec
from workflows.task import Task, TaskInput
from workflows.timeline import Timeline

__all__ = ["ProjectManager"]

OnGoal = Callable[[str, Plan], None]


class ProjectManager:
    """Creates projects, has them planned, runs them and tells how they stand.

    Args:
        permissions: Stands before everything; by default the guard of the user of this process.
        model: What plans are asked of; by default the configured servers.
    """

    def __init__(self, permissions: Guard | None = None, model: ChatModel | None = None) -> None:
        self.permissions = permissions or guard()
        self.task_manager = TaskManager(permissions=self.permissions)
        self._model = model

    def create_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None = None
    ) -> Project:
        """Keep a project, its inputs and budget, and have it planned.

        Args:
            spec: The project.
            inputs: The texts of its inputs, by name.
            on_goal: Is told of each goal that has just been planned.

        Raises:
            InvalidProject: There is one of that name, or an input is missing.
            AgentError: No model answers; the project is kept and can be planned later.
        """
        self.permissions.require("project.change", f"project:{spec.name}")
        _check_inputs(spec, inputs)
        projects.add(uuid4(), spec)
        return self._plan(projects.get(spec.name), spec, inputs, on_goal)

    def change_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None = None
    ) -> Project:
        """Give a project another spec; plan again the goals that this touches, and no others.

        Raises:
            UnknownProject: There is none of that name.
            IllegalTransition: Somebody else has changed it meanwhile.
        """
        self.permissions.require("project.change", f"project:{spec.name}")
        _check_inputs(spec, inputs)
        return self._plan(projects.get(spec.name), spec, inputs, on_goal)

    def get(self, name: str) -> Project:
        """Return a project as it stands, with its timeline and artifacts. Raises `UnknownProject`."""
        self.permissions.require("project.read", f"project:{name}")
        project = projects.get(name)
        return project.model_copy(
            update={
                "timeline": self.timeline(project),
                "artifacts": artifacts.of_namespace(project.name),
            }
        )

    def names(self) -> list[tuple[str, datetime]]:
        """Return the names of the projects with when they were created, the newest first."""
        self.permissions.require("project.read", "project:*")
        return projects.names()

    def run(self, name: str, goals: Sequence[str] = ()) -> TaskHandle:
        """Start the work on all goals that are not reached, or on those that are named.

        Raises:
            InvalidProject: It has no plan, or nothing is left to do.
            IllegalTransition: A run works on one of the goals already.
        """
        self.permissions.require("project.change", f"project:{name}")
        project = projects.get(name)
        if project.plan is None:
            raise InvalidProject(
                f"project {project.name} has no plan yet: `ai-agent project plan {project.name}`"
            )
        wanted = [goal for goal in project.spec.order() if goal in (goals or _unreached(project))]
        for goal in goals:
            project.spec.goal(goal)
        if not wanted:
            raise InvalidProject(f"all goals of project {project.name} are reached")
        run = uuid4()
        graph = Task(
            id=run,
            description=project.description,
            subtasks=[task for goal in wanted for task in self._tasks(project, goal, wanted, run)],
            project=project.name,
            metadata={"title": f"project {project.name}"},
        )
        projects.begin(project, str(run), wanted)
        return TaskHandle(self.task_manager.submit(graph), self.task_manager)

    def accept(self, name: str, goal: str) -> None:
        """Accept the result of a goal that only people can judge. Raises `IllegalTransition`."""
        self.permissions.require("project.change", f"project:{name}")
        projects.accept(projects.get(name), goal, self.permissions.name)

    def timeline(self, project: Project, now: datetime | None = None) -> Timeline | None:
        """Return a project's plan in time, as it stands; None while it has no plan."""
        if project.plan is None:
            return None
        actuals = projects.actuals(_names(project))
        begun = [actual.started_at for actual in actuals.values() if actual.started_at is not None]
        present = now or datetime.now(UTC)
        deadlines = {goal.name: goal.deadline for goal in project.goals if goal.deadline}
        if project.spec.deadline:
            deadlines[""] = project.spec.deadline
        return project.plan.timeline(
            begins_at=min(begun, default=present),
            now=present,
            said=JournalStore(database).estimates(),
            estimator=Estimator(projects.samples()),
            actuals=actuals,
            deadlines=deadlines,
        )

    def artifact(self, name: str, artifact: str) -> tuple[ProjectArtifact, bytes]:
        """Return the newest artifact of a name, and its content. Raises `UnknownArtifact`."""
        self.permissions.require("project.read", f"project:{name}")
        found = artifacts.newest(name, artifact)
        return found, artifacts.read(found)

    def _plan(
        self,
        project: Project,
        spec: ProjectSpec,
        inputs: Mapping[str, str],
        on_goal: OnGoal | None,
    ) -> Project:
        self.permissions.require("task.submit", "agent:planner")
        kept = {each.name: each.sha256 for each in reversed(artifacts.of_namespace(spec.name))}
        for name in spec.inputs:
            content = inputs[name].encode()
            if kept.get(name) != hashlib.sha256(content).hexdigest():
                artifacts.put(spec.name, name, content, ArtifactType.TEXT)
        self._set_budget(spec)
        plan = agent_manager().planner.create_project_plan(
            project.model_copy(update={"spec": spec}),
            inputs,
            roster=agent_manager().profiles,
            model=self._model or chat_model(),
            on_goal=on_goal,
        )
        projects.change(project, spec, plan)
        return self.get(spec.name)

    def _set_budget(self, spec: ProjectSpec) -> None:
        limits = spec.resources.budget
        if limits.tokens or limits.model_calls or limits.seconds:
            budgets.set_limits(
                f"project:{spec.name}",
                tokens=limits.tokens,
                calls=limits.model_calls,
                seconds=limits.seconds,
            )

    def _tasks(self, project: Project, name: str, wanted: Sequence[str], run: UUID) -> list[Task]:
        """Return the tasks of a goal in a run: its steps, and where they end."""
        goal = project.spec.goal(name)
        known = {each: self._text(project.name, each) for each in project.spec.inputs_of(goal)}
        before = [_end_id(run, each) for each in goal.needs if each in wanted]
        reached = [
            TaskInput(name=each, text=self._text(project.name, each))
            for each in goal.needs
            if each not in wanted
        ]
        assert project.plan is not None
        plan = project.plan.goals[name].plan
        parent = goal_task(project.spec, goal, _goal_id(run, name), known)
        steps = agent_manager().planner.subtasks(plan, parent)
        first = [number for number in plan.graph().roots]
        for number, step in enumerate(steps, start=1):
            step.parent_task = None
            step.deadline = goal.deadline or project.spec.deadline
            if number in first:
                step.dependencies = before
                step.inputs = [*step.inputs, *reached]
        ends = [steps[number - 1].id for number in plan.graph().sinks]
        return [*steps, _end(project, goal, run, ends)]

    def _text(self, namespace: str, name: str) -> str:
        return artifacts.read(artifacts.newest(namespace, name)).decode()


def _check_inputs(spec: ProjectSpec, inputs: Mapping[str, str]) -> None:
    for name in spec.inputs:
        if name not in inputs:
            raise InvalidProject(f"project {spec.name} needs the input {name}: give its text")


def _unreached(project: Project) -> list[str]:
    done = ("reached", "to-accept", "running")
    return [
        goal.name
        for goal in project.goals
        if goal.name not in project.standings or project.standings[goal.name].state not in done
    ]


def _goal_id(run: UUID, goal: str) -> UUID:
    return uuid5(run, f"goal:{goal}")


def _end_id(run: UUID, goal: str) -> UUID:
    return uuid5(run, f"end:{goal}")


def _end(project: Project, goal: ProjectGoal, run: UUID, ends: Sequence[UUID]) -> Task:
    return Task(
        id=_end_id(run, goal.name),
        description=goal.description,
        task="project.goal",
        kwargs={"project": str(project.id), "goal": goal.name},
        dependencies=list(ends),
        deadline=goal.deadline or project.spec.deadline,
        metadata={"title": goal.name},
    )


def _names(project: Project) -> dict[str, str]:
    """Return what the tasks of a project's runs are called in its plan, by their ids."""
    found: dict[str, str] = {}
    assert project.plan is not None
    for goal, standing in project.standings.items():
        if standing.run is None:
            continue
        found[str(_end_id(standing.run, goal))] = goal
        plan = project.plan.goals[goal].plan
        for number in range(1, len(plan.steps) + 1):
            task = uuid5(_goal_id(standing.run, goal), f"{plan.version}:{number}")
            found[str(task)] = f"{goal}/{number}"
    return found
