"""`LocalDesk`: the desk of a process that reaches Postgres, Redis and the model servers by itself.

Invariant: each verb asks for its permission, and leaves everything else to the managers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult

from agents.presence import check_presence
from celery_app.celery import agent_manager, app, database, guard, settings
from celery_app.desk import Kind, Outcome
from celery_app.errors import TaskFailed
from celery_app.orchestrator import budgets
from celery_app.orchestrator.documentation_manager import DocumentationManager
from celery_app.orchestrator.following import follow as follow_events
from celery_app.orchestrator.project_artifacts import ProjectArtifacts
from celery_app.orchestrator.project_manager import ProjectManager
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.orchestrator.triggers import Triggers
from celery_app.orchestrator.workflow_engine import WorkflowEngine
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.security.guard import Guard
from celery_app.security.policy import request
from celery_app.store.budgets import Budget
from celery_app.store.journal import JournalStore
from celery_app.store.projects import Listed
from celery_app.worker.binding import chat_model
from workflows.artifact import ProjectArtifact
from workflows.plan import UNMEASURED
from workflows.project import Project, ProjectSpec
from workflows.project_plan import OnGoal
from workflows.task import Priority, ResourceRequirements, Task
from workflows.workflow import Workflow

__all__ = ["LocalDesk"]


class LocalDesk:
    """Serves one subject.

    Args:
        permissions: Says whether whoever asks may; by default the user of this process.
        manager: Takes tasks in; by default one for these permissions.
        files: The workflow files; by default those of the settings.

    Attributes:
        permissions: As given.
        manager: Tasks.
        engine: Runs of workflows.
        triggers: What starts workflows.
        files: The workflow files.
        project_manager: Projects.
        project_artifacts: What their work has brought forth.
        documents: Documents about projects.
    """

    def __init__(
        self,
        permissions: Guard | None = None,
        manager: TaskManager | None = None,
        files: WorkflowFiles | None = None,
    ) -> None:
        self.permissions = permissions or (manager.permissions if manager else guard())
        self.manager = manager or TaskManager(permissions=self.permissions)
        self.files = files or WorkflowFiles()
        self.engine = WorkflowEngine(self.files, self.permissions)
        self.triggers = Triggers(self.files, permissions=self.permissions)
        self.project_manager = ProjectManager(self.permissions)
        self.project_artifacts = ProjectArtifacts(self.permissions)
        self.documents = DocumentationManager(self.permissions)

    def submit(self, task: Task) -> UUID:
        """See `TaskManager.submit`."""
        return self.manager.submit(task)

    def plan(self, task: Task) -> dict[str, Any]:
        """See `Client.plan`."""
        self.permissions.require("task.submit", "agent:planner")
        plan = agent_manager().planner.plan_task_breakdown(
            task, roster=agent_manager().profiles, model=chat_model()
        )
        price = plan.price(JournalStore(database).estimates(), otherwise=UNMEASURED)
        return {**plan.model_dump(mode="json"), "price": {**asdict(price), "tokens": price.tokens}}

    def tasks(self, state: str | None, limit: int) -> list[dict[str, Any]]:
        """See `TaskManager.newest`."""
        return [record.as_json() for record in self.manager.newest(limit, state)]

    def state(self, kind: Kind, task_id: UUID) -> str:
        """See `TaskHandle.state`."""
        self.require_read(kind, task_id)
        return str(self.manager.store.state(str(task_id)))

    def outcome(self, kind: Kind, task_id: UUID, timeout: float | None) -> Outcome:
        """Wait for the end, woken by a push from Postgres; with 0 only look."""
        self.require_read(kind, task_id)
        found = AsyncResult(str(task_id), app=app)
        try:
            if timeout == 0 and not found.ready():
                return Outcome(self.state(kind, task_id), over=False)
            result = found.get(timeout=timeout)
        except CeleryTimeout:
            return Outcome(self.state(kind, task_id), over=False)
        except TaskFailed as error:
            return Outcome(self.state(kind, task_id), over=True, error=error)
        return Outcome("succeeded", over=True, result=result)

    def events(self, kind: Kind, task_id: UUID, after: int) -> list[dict[str, Any]]:
        """See `TaskHandle.events`."""
        self.require_read(kind, task_id)
        store = self.manager.store
        return store.events(store.get(str(task_id)).root_id, after)

    def follow(self, kind: Kind, task_id: UUID, after: int, text: bool) -> Iterator[dict[str, Any]]:
        """See `TaskHandle.events`."""
        self.require_read(kind, task_id)
        return follow_events(self.manager.store, str(task_id), after, text)

    def tree(self, kind: Kind, task_id: UUID) -> dict[str, Any]:
        """See `TaskManager.tree` and `WorkflowEngine.get`."""
        return self.engine.get(task_id) if kind == "run" else self.manager.tree(task_id)

    def cancel(self, kind: Kind, task_id: UUID) -> None:
        """See `TaskManager.cancel` and `WorkflowEngine.cancel`."""
        (self.engine if kind == "run" else self.manager).cancel(task_id)

    def retry(self, task_id: UUID) -> None:
        """See `TaskManager.retry`."""
        self.manager.retry(task_id)

    def give(self, task_id: UUID, *, tokens: int, calls: int, seconds: float) -> None:
        """See `TaskHandle.give`."""
        self.manager.require("budget.change", task_id)
        budgets.give(str(task_id), tokens=tokens, calls=calls, seconds=seconds)

    def require_read(self, kind: Kind, task_id: UUID) -> None:
        """Make sure that whoever asks may see it. Raises `PermissionDenied`, `UnknownTask`."""
        if kind == "run":
            self.engine.require_read(task_id)
        else:
            self.manager.require("task.read", task_id)

    def workflows(self) -> list[Workflow]:
        """Return those of the files that whoever asks may see."""
        found = self.files.readable()
        seen = [each for each in found if self._may_read(each.name)]
        if not seen:
            self.permissions.require("workflow.read", "workflow:*")
        return seen

    def _may_read(self, name: str) -> bool:
        return self.permissions.decide(request("workflow.read", f"workflow:{name}")).allowed

    def read_workflow(self, path: Path) -> Workflow:
        """See `WorkflowFiles.read`."""
        return self.files.read(path)

    def start(
        self,
        workflow: Workflow | Path | str,
        inputs: Mapping[str, Any],
        *,
        run_id: UUID | None = None,
        project: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        resources: ResourceRequirements | Mapping[str, Any] | None = None,
    ) -> UUID:
        """See `Client.start_workflow`."""
        return self.engine.start(
            self._meant(workflow),
            inputs,
            run_id=run_id,
            project=project,
            priority=priority,
            resources=resources,
        )

    def runs(self, workflow: str | None, limit: int) -> list[dict[str, Any]]:
        """See `WorkflowEngine.newest`."""
        return self.engine.newest(workflow, limit)

    def definition(self, run_id: UUID) -> Workflow:
        """See `WorkflowEngine.instance`."""
        return self.engine.instance(run_id).workflow

    def answer(
        self, run_id: UUID, step: str, *, approved: bool, answer: Any, by: str | None
    ) -> None:
        """See `WorkflowEngine.approve` and `reject`."""
        steer = self.engine.approve if approved else self.engine.reject
        steer(run_id, step, answer=answer, by=by)

    def resume(self, run_id: UUID) -> None:
        """See `WorkflowEngine.resume`."""
        self.engine.resume(run_id)

    def fork(
        self,
        run_id: UUID,
        step: str | None,
        *,
        inputs: Mapping[str, Any] | None,
        workflow: Workflow | None,
    ) -> UUID:
        """See `WorkflowEngine.fork`."""
        return self.engine.fork(run_id, step, inputs=inputs, workflow=workflow)

    def register(self, workflow: Workflow | Path | str) -> None:
        """See `Triggers.register`."""
        self.triggers.register(self._meant(workflow), self.files.named)

    def emit(self, event: str, payload: Any, key: str | None) -> list[UUID]:
        """See `Triggers.emit`."""
        return [UUID(run_id) for run_id in self.triggers.emit(event, payload, key)]

    def set_project_budget(
        self, project: str, *, tokens: int | None, calls: int | None, seconds: float | None
    ) -> None:
        """See `Client.set_project_budget`."""
        self.permissions.require("budget.change", f"project:{project}")
        budgets.set_limits(f"project:{project}", tokens=tokens, calls=calls, seconds=seconds)

    def project_budget(self, project: str) -> Budget:
        """See `Client.project_budget`."""
        self.permissions.require("project.read", f"project:{project}")
        return budgets.standing(f"project:{project}")

    def projects(self) -> list[Listed]:
        """See `ProjectManager.newest`."""
        return self.project_manager.newest()

    def create_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> Project:
        """See `ProjectManager.create`."""
        return self.project_manager.create(spec, inputs, on_goal)

    def change_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> Project:
        """See `ProjectManager.change`."""
        return self.project_manager.change(spec, inputs, on_goal)

    def project(self, name: str) -> Project:
        """See `ProjectManager.get`."""
        return self.project_manager.get(name)

    def project_document(self, name: str) -> dict[str, Any]:
        """See `ProjectHandle.document`."""
        figures = self.project_manager.figures(name)
        return {**self.project(name).as_json(), "figures": asdict(figures)}

    def run_project(self, name: str, goals: Sequence[str]) -> UUID:
        """See `ProjectManager.run`."""
        return self.project_manager.run(name, goals)

    def accept_goal(self, name: str, goal: str) -> None:
        """See `ProjectManager.accept`."""
        self.project_manager.accept(name, goal)

    def artifacts(self, name: str) -> list[ProjectArtifact]:
        """See `ProjectArtifacts.all`."""
        return self.project_artifacts.all(name)

    def artifact(self, name: str, artifact: str) -> bytes:
        """See `ProjectArtifacts.newest`."""
        return self.project_artifacts.newest(name, artifact)[1]

    def add_artifact(
        self, name: str, artifact: str, content: bytes, file: str | None
    ) -> ProjectArtifact:
        """See `ProjectArtifacts.add`."""
        return self.project_artifacts.add(name, artifact, content, file)

    def check_models(self) -> None:
        """See `Client.check_models`."""
        for model in sorted({profile.model for profile in agent_manager().profiles}):
            check_presence(settings.ollama_hosts, model)

    def _meant(self, given: Workflow | Path | str) -> Workflow:
        if isinstance(given, Workflow):
            return given
        return self.files.read(given) if isinstance(given, Path) else self.files.named(given)
