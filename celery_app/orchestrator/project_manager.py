"""`ProjectManager`: goals become a plan, the plan becomes one graph of tasks, and its timeline is told.

The core is synchronous; its async verb is thin. The manager keeps nothing.

Invariant: a goal whose result holds is not worked on again unless somebody says so: a run has the
goals that have none, and is given the results of those that have.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID, uuid4

from agents.model import ChatModel
from agents.planner import staff_of
from celery_app.celery import agent_manager, artifacts, database, guard, projects
from celery_app.crash_points import crash_point
from celery_app.errors import UnknownProject
from celery_app.orchestrator import budgets
from celery_app.orchestrator.project_access import found
from celery_app.orchestrator.project_run import end_of, plan_of, tasks_of, wanted
from celery_app.orchestrator.project_timeline import deadlines_of, estimator, timeline
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.security.guard import Guard
from celery_app.store.project_figures import Figures, ProjectFigures
from celery_app.store.projects import Listed
from celery_app.worker.binding import chat_model
from workflows.artifact import ArtifactType, ProjectArtifact
from workflows.errors import InvalidProject
from workflows.plan import Plan
from workflows.project import Project, ProjectBudget, ProjectSpec
from workflows.project_plan import OnGoal, ProjectPlan
from workflows.task import Task

__all__ = ["ProjectManager", "ProjectView"]

_figures = ProjectFigures(database)


class ProjectView(Mapping[UUID, Project]):
    """All projects, as a mapping over Postgres: nothing is kept in memory."""

    def __getitem__(self, project_id: UUID) -> Project:
        try:
            return projects.get(str(project_id))
        except UnknownProject as unknown:
            raise KeyError(project_id) from unknown

    def __iter__(self) -> Iterator[UUID]:
        return (listed.id for listed in projects.newest())

    def __len__(self) -> int:
        return len(projects.newest())


class ProjectManager:
    """Creates projects, has them planned, runs them and tells how they stand.

    Args:
        permissions: Stands before everything; by default the guard of the user of this process.
        model: What plans are asked of; by default the configured servers.

    Attributes:
        projects: Every project, by id.
        task_manager: What runs are handed in to.
    """

    def __init__(self, permissions: Guard | None = None, model: ChatModel | None = None) -> None:
        self.permissions = permissions or guard()
        self.projects = ProjectView()
        self.task_manager = TaskManager(permissions=self.permissions)
        self._model = model

    async def create_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str] | None = None
    ) -> Project:
        """Create a project; see `create`."""
        return await asyncio.to_thread(self.create, spec, inputs)

    def create(
        self,
        spec: ProjectSpec,
        inputs: Mapping[str, str] | None = None,
        on_goal: OnGoal | None = None,
    ) -> Project:
        """Keep a project with its inputs and budget, have it planned, and set up its monitoring.

        Args:
            spec: The project.
            inputs: The texts of its inputs, by name.
            on_goal: Is told of each goal that has just been planned.

        Raises:
            InvalidProject: There is one of that name, or an input is missing.
            PermissionDenied: It is not for whoever asks; so with all that follows here.
            AgentError: No model answers; the project is kept, and `change` plans it later.
        """
        self._require_change(spec, ProjectBudget())
        given = _checked(spec, inputs or {})
        projects.add(uuid4(), spec)
        project = projects.get(spec.name)
        kept = self._initialize_resources(project, spec, given, ProjectBudget())
        self._setup_monitoring(project, spec)
        plan = self._create_project_plan(project, given, on_goal)
        projects.change(project, spec, plan.model_copy(update={"inputs": kept}))
        return self.get(spec.name)

    def change(
        self,
        spec: ProjectSpec,
        inputs: Mapping[str, str] | None = None,
        on_goal: OnGoal | None = None,
    ) -> Project:
        """Give a project another spec; plan again the goals that this touches, and no others.

        Args:
            spec: The project as it is to be; its name says which one is meant.
            inputs: The texts of its inputs, by name; those not given stay as they are.
            on_goal: Is told of each goal that has just been planned.

        Raises:
            UnknownProject: There is none of that name.
            IllegalTransition: Somebody else has changed it meanwhile.
            AgentError: No model answers; the project stays as it is.
        """
        project = found(self.permissions, spec.name, "project.change")
        self._require_change(spec, project.resources.budget)
        given = _checked(spec, {**self._texts(project, spec), **(inputs or {})})
        changed = project.model_copy(update=dict(spec))
        plan = self._create_project_plan(changed, given, on_goal)
        kept = self._initialize_resources(project, spec, given, project.resources.budget)
        projects.change(project, spec, plan.model_copy(update={"inputs": kept}))
        self._setup_monitoring(project, spec)
        return self.get(spec.name)

    def get(self, name: str) -> Project:
        """Return a project by name or id as it stands, with its timeline and artifacts.

        Raises:
            UnknownProject: There is none.
        """
        project = found(self.permissions, name, "project.read")
        return project.model_copy(
            update={
                "timeline": timeline(project),
                "artifacts": artifacts.of_namespace(project.name),
            }
        )

    def figures(self, name: str) -> Figures:
        """Return what a project has taken so far. Raises `UnknownProject`."""
        return _figures.of(found(self.permissions, name, "project.read").id)

    def newest(self) -> list[Listed]:
        """Return all projects in short, the newest first."""
        self.permissions.require("project.read", "project:*")
        return projects.newest()

    def run(self, name: str, goals: Sequence[str] = ()) -> UUID:
        """Start the work on all goals that have no result, or on those that are named.

        Returns:
            The id of the run, which is a task that holds all others.

        Raises:
            InvalidProject: It has no plan, or nothing is left to do.
            IllegalTransition: A run works on one of the goals already.
        """
        project = found(self.permissions, name, "project.change")
        plan_of(project)
        chosen = wanted(project, goals)
        run = uuid4()
        tasks = tasks_of(project, chosen, run, agent_manager().planner, self._text)
        projects.begin(project, str(run), {goal: str(end_of(run, goal)) for goal in chosen})
        crash_point("after-begin")
        try:
            return self.task_manager.submit(
                Task(
                    id=run,
                    description=project.description,
                    subtasks=tasks,
                    project=project.name,
                    metadata={"title": f"project {project.name}"},
                )
            )
        except Exception:
            projects.release(project, str(run))
            raise

    def accept(self, name: str, goal: str) -> None:
        """Accept the result of a goal that only people can judge. Raises `IllegalTransition`."""
        project = found(self.permissions, name, "project.change")
        projects.accept(project, project.goal(goal).name, self.permissions.name)

    def _require_change(self, spec: ProjectSpec, before: ProjectBudget) -> None:
        self.permissions.require("project.change", f"project:{spec.name}")
        self.permissions.require("task.submit", "agent:planner")
        if spec.resources.budget != before:
            self.permissions.require("budget.change", f"project:{spec.name}")

    def _initialize_resources(
        self, project: Project, spec: ProjectSpec, inputs: Mapping[str, str], before: ProjectBudget
    ) -> dict[str, UUID]:
        """Keep the inputs and set the budget; return the artifacts that the inputs are, by name."""
        limits = spec.resources.budget
        if limits != before:
            budgets.set_limits(
                f"project:{spec.name}",
                tokens=limits.tokens,
                calls=limits.model_calls,
                seconds=limits.seconds,
            )
        kept = self._kept_inputs(project, spec)
        ids: dict[str, UUID] = {}
        for name, text in inputs.items():
            content = text.encode()
            known = kept.get(name)
            if known is None or known.sha256 != hashlib.sha256(content).hexdigest():
                known = artifacts.put(spec.name, name, content, ArtifactType.TEXT)
            ids[name] = known.id
        return ids

    def _create_project_plan(
        self, project: Project, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> ProjectPlan:
        def planned(goal: str, plan: Plan) -> None:
            used = plan.tokens.prompt + plan.tokens.generated
            budgets.book(f"project:{project.name}", tokens=used, calls=plan.tries)
            if on_goal is not None:
                on_goal(goal, plan)

        return agent_manager().planner.create_project_plan(
            project,
            inputs,
            roster=agent_manager().profiles,
            model=self._model or chat_model(),
            estimator=estimator(),
            on_goal=planned,
        )

    def _setup_monitoring(self, project: Project, spec: ProjectSpec) -> None:
        deadlines = deadlines_of(spec).values()
        _figures.watch(project.id, spec.alerts, min(deadlines, default=None))

    def _texts(self, project: Project, spec: ProjectSpec) -> dict[str, str]:
        kept = self._kept_inputs(project, spec)
        return {name: artifacts.read(kept[name]).decode() for name in kept}

    def _kept_inputs(self, project: Project, spec: ProjectSpec) -> dict[str, ProjectArtifact]:
        """Return those inputs that are there: of the present plan, or else the newest of their name."""
        if project.plan is not None:
            ids = project.plan.inputs
            return {name: artifacts.get(ids[name]) for name in spec.inputs if name in ids}
        newest = {each.name: each for each in reversed(artifacts.of_namespace(spec.name))}
        return {name: newest[name] for name in spec.inputs if name in newest}

    def _text(self, artifact_id: UUID) -> str:
        return artifacts.read(artifacts.get(artifact_id)).decode()


def _checked(spec: ProjectSpec, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of just the inputs that a project has.

    Raises:
        InvalidProject: One is missing, or an agent that the project names.
    """
    for name in spec.inputs:
        if name not in inputs:
            raise InvalidProject(f"project {spec.name} needs the input {name}: give its text")
    staff_of(spec, agent_manager().profiles)
    return {name: inputs[name] for name in spec.inputs}
