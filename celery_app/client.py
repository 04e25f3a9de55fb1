"""`Client`: what a Python program uses to hand in work.

Invariant: a client keeps nothing. What it gives are handles, which any other process can make too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from agents.presence import check_presence
from celery_app.celery import agent_manager, database, guard, prepare
from celery_app.handles import RunHandle, TaskHandle
from celery_app.orchestrator import budgets
from celery_app.orchestrator.documentation_manager import DocumentationManager
from celery_app.orchestrator.project_manager import OnGoal, ProjectManager
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.orchestrator.triggers import Triggers
from celery_app.orchestrator.workflow_engine import WorkflowEngine
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.project_handle import ProjectHandle, read_project
from celery_app.stack.profile import current_settings
from celery_app.store.budgets import Budget
from celery_app.store.journal import JournalStore
from celery_app.store.projects import Listed
from celery_app.worker.binding import chat_model
from workflows.errors import InvalidTask
from workflows.plan import UNMEASURED
from workflows.project import ProjectSpec
from workflows.task import (
    Priority,
    ResourceRequirements,
    SecurityRequirements,
    Task,
    TaskInput,
    TaskType,
)
from workflows.task_input import read_input
from workflows.workflow import Workflow


class Client:
    """Hands in work. Uses the configured servers, or starts the embedded ones. `documents` writes documents.

    Args:
        token: Who asks, as `ai-agent token create` printed it; by default the one in AI_AGENT_TOKEN, or
            else the user of this process. What they may do the policy says; each method raises
            `PermissionDenied` where they may not.

    Raises:
        ConfigurationError: The settings are wrong.
        ServiceUnavailable: A configured server does not answer.
    """

    def __init__(self, token: str | None = None) -> None:
        prepare()
        self.permissions = guard(token)
        self._manager = TaskManager(permissions=self.permissions)
        self._files = WorkflowFiles()
        self._engine = WorkflowEngine(self._files, self.permissions)
        self.documents = DocumentationManager(self.permissions)
        self._projects = ProjectManager(self.permissions)
        self._triggers = Triggers(self._files, permissions=self.permissions)

    def submit(
        self,
        description: str,
        *,
        type: TaskType | str = TaskType.GENERAL,  # noqa: A002 - the field's name everywhere
        priority: Priority | str = Priority.NORMAL,
        dependencies: Iterable[UUID | str] = (),
        deadline: datetime | None = None,
        capabilities: Iterable[str] = (),
        inputs: Sequence[TaskInput | Path | str] = (),
        plan: bool | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        project: str | None = None,
        concurrency_key: str | None = None,
        resources: ResourceRequirements | Mapping[str, Any] | None = None,
        agent: str | None = None,
        output: Mapping[str, Any] | None = None,
        tools: Iterable[str] = (),
        network: bool = False,
    ) -> TaskHandle:
        """Hand in a job in words.

        Args:
            description: What is to be done.
            type: What kind of work it is.
            priority: low, normal, high or critical.
            dependencies: Tasks whose results it needs.
            deadline: When it must be over; a moment with a time zone.
            capabilities: What its agent must be able to do.
            inputs: Files to work on, as paths or as given texts.
            plan: Whether a planner breaks it up; by default the job decides.
            idempotency_key: Handing in twice under one key gives the same task.
            timeout: Seconds that one attempt may take.
            project: What it belongs to; limits and budgets of the project hold for it.
            concurrency_key: Of tasks with one key only one runs at a time, or as many as `limits` says.
            resources: What it needs (``cpu``, ``memory``), and what it may use up together with all its
                subtasks (``tokens``, ``model_calls``, ``seconds``).
            agent: Name or type of the agent to do it; by default one that can.
            output: JSON schema of the result, which is then a value of that kind instead of a text.
            tools: Names of the tools that its agents may use, of those that they have.
            network: Whether they may use tools that need the network.

        Raises:
            InvalidTask: Something is wrong with it; nothing was stored.
        """
        return self._submit(
            {
                "description": description,
                "type": type,
                "priority": priority,
                "dependencies": list(dependencies),
                "deadline": deadline,
                "required_capabilities": list(capabilities),
                "inputs": [_as_input(given) for given in inputs],
                "plan": plan,
                "idempotency_key": idempotency_key,
                "timeout": timeout,
                "project": project,
                "concurrency_key": concurrency_key,
                "resource_requirements": resources or {},
                "agent": agent,
                "output": output,
                "security_requirements": {"allowed_tools": list(tools), "network": network},
            }
        )

    def plan(
        self, description: str, *, inputs: Sequence[TaskInput | Path | str] = ()
    ) -> dict[str, Any]:
        """Have a job planned, and run nothing.

        Returns:
            The plan: ``source``, ``tries``, ``tokens``, ``steps``, and its ``price``: calls, tokens,
            seconds of work, and the seconds and steps of its critical path.

        Raises:
            InvalidTask: Something is wrong with the job.
            AgentError: The model does not answer.
        """
        given = [_as_input(one) for one in inputs]
        task = _validated({"description": description, "inputs": given, "plan": True}, "task")
        self.permissions.require("task.submit", "agent:planner")
        plan = agent_manager().planner.plan_task_breakdown(
            task, roster=agent_manager().profiles, model=chat_model()
        )
        price = plan.price(JournalStore(database).estimates(), otherwise=UNMEASURED)
        return {**plan.model_dump(mode="json"), "price": {**asdict(price), "tokens": price.tokens}}

    def submit_graph(
        self,
        tasks: Sequence[Task | Mapping[str, Any]],
        *,
        description: str | None = None,
        project: str | None = None,
        resources: ResourceRequirements | Mapping[str, Any] | None = None,
    ) -> TaskHandle:
        """Hand in a graph of tasks; its result is a dict of their results by id.

        Args:
            tasks: Tasks, or dicts with ``id``, ``description`` or ``task`` + ``args``/``kwargs``, and
                ``dependencies``.
            description: A name for the whole.
            project: What it belongs to.
            resources: What all of it together may use up, as for `submit`.

        Raises:
            InvalidTask: Something is wrong with it; nothing was stored.
        """
        if not tasks:
            raise InvalidTask("the graph has no tasks; give at least one")
        subtasks = [_validated(task, f"tasks[{index}]") for index, task in enumerate(tasks)]
        return self._submit(
            {
                "description": description or f"graph of {len(tasks)} tasks",
                "subtasks": subtasks,
                "project": project,
                "resource_requirements": resources or {},
                "security_requirements": SecurityRequirements.covering(
                    task.security_requirements for task in subtasks
                ),
            }
        )

    def set_project_budget(
        self,
        project: str,
        *,
        tokens: int | None = None,
        calls: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Set what all tasks of a project together may use up; None is no limit."""
        self.permissions.require("budget.change", f"project:{project}")
        budgets.set_limits(f"project:{project}", tokens=tokens, calls=calls, seconds=seconds)

    def project_budget(self, project: str) -> Budget:
        """Return what the tasks of a project have used up, and what they may."""
        self.permissions.require("project.read", f"project:{project}")
        return budgets.standing(f"project:{project}")

    def create_project(
        self,
        spec: ProjectSpec | Path,
        inputs: Mapping[str, str] | None = None,
        on_goal: OnGoal | None = None,
    ) -> ProjectHandle:
        """Create a project and have it planned; see `ProjectManager.create`.

        Args:
            spec: The project, or the YAML file that describes it, with its inputs beside it.
            inputs: The texts of its inputs by name, unless they are files.
            on_goal: Is told of each goal that has just been planned.
        """
        found, texts = (spec, inputs or {}) if isinstance(spec, ProjectSpec) else read_project(spec)
        return ProjectHandle(self._projects.create(found, texts, on_goal).name, self._projects)

    def change_project(
        self,
        spec: ProjectSpec | Path,
        inputs: Mapping[str, str] | None = None,
        on_goal: OnGoal | None = None,
    ) -> ProjectHandle:
        """Change a project and plan again what that touches; see `create_project`."""
        found, texts = (spec, inputs or {}) if isinstance(spec, ProjectSpec) else read_project(spec)
        return ProjectHandle(self._projects.change(found, texts, on_goal).name, self._projects)

    def project(self, name: str) -> ProjectHandle:
        """Return the handle of a project that was created before, here or elsewhere."""
        return ProjectHandle(name, self._projects)

    def projects(self) -> list[Listed]:
        """Return all projects in short, the newest first."""
        return self._projects.newest()

    def check_models(self) -> None:
        """Make sure that the models of the roster are to be had, before somebody waits for them.

        Raises:
            ModelUnreachable: No model server answers.
            ModelMissing: Those that answer lack a model.
        """
        for model in sorted({profile.model for profile in agent_manager().profiles}):
            check_presence(current_settings().ollama_hosts, model)

    def run_workflow(self, name: str, /, **inputs: Any) -> RunHandle:
        """Start the workflow of that name, see `start_workflow`."""
        return self.start_workflow(name, inputs)

    def start_workflow(
        self,
        workflow: Workflow | Path | str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: UUID | None = None,
        project: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        resources: ResourceRequirements | Mapping[str, Any] | None = None,
    ) -> RunHandle:
        """Start a run of a workflow. It keeps the definition that it starts with.

        Args:
            workflow: The name of one of the workflow files, the path of any file, or a workflow made here.
            inputs: Its inputs.
            run_id: Starting twice under one id starts one run.
            project: What it belongs to.
            priority: low, normal, high or critical.
            resources: What all of it together may use up, as for `submit`.

        Raises:
            InvalidWorkflow: It has mistakes; all of them are told, and nothing was started.
            InvalidInputs: The inputs do not fit; nothing was started.
        """
        found = self._workflow(workflow)
        run = self._engine.start(
            found,
            inputs or {},
            run_id=run_id,
            project=project,
            priority=priority,
            resources=resources,
        )
        return RunHandle(run, self._engine)

    def register_workflow(self, workflow: Workflow | Path | str) -> None:
        """Put the triggers of a workflow in force; beat does so by itself for the workflow files.

        Raises:
            InvalidWorkflow: It has mistakes; all of them are told.
        """
        self._triggers.register(self._workflow(workflow), self._files.named)

    def emit(self, event: str, payload: Any = None, *, key: str | None = None) -> list[RunHandle]:
        """Tell that an event has happened; start every workflow with a trigger for it.

        Args:
            event: Its name.
            payload: What is known of it; in the trigger's `with` it is `run.event`.
            key: Telling of an event twice under one key starts each workflow once.
        """
        started = self._triggers.emit(event, payload, key)
        return [RunHandle(run_id, self._engine) for run_id in started]

    def runs(self, workflow: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return the runs that were started last, newest first: of one workflow, or of all."""
        return self._engine.newest(workflow, limit)

    def read_workflow(self, path: Path) -> Workflow:
        """Return the workflow of a file. Raises `InvalidWorkflow` with all that is wrong with it."""
        return self._files.read(path)

    def run(self, run_id: UUID | str) -> RunHandle:
        """Return the handle of a run that was started before, here or elsewhere."""
        return RunHandle(run_id, self._engine)

    def task(self, task_id: UUID | str) -> TaskHandle:
        """Return the handle of a task that was handed in before, here or elsewhere."""
        return TaskHandle(task_id, self._manager)

    def _workflow(self, given: Workflow | Path | str) -> Workflow:
        if isinstance(given, Workflow):
            return given
        return self._files.read(given) if isinstance(given, Path) else self._files.named(given)

    def _submit(self, fields: dict[str, Any]) -> TaskHandle:
        return TaskHandle(self._manager.submit(_validated(fields, "task")), self._manager)


def _validated(given: Task | Mapping[str, Any], place: str) -> Task:
    if isinstance(given, Task):
        return given
    try:
        return Task.read(given)
    except InvalidTask as error:
        words = str(error).removeprefix("the task is refused: ")
        raise InvalidTask(f"{place}: {words}") from error


def _as_input(given: TaskInput | Path | str) -> TaskInput:
    return given if isinstance(given, TaskInput) else read_input(Path(given))
