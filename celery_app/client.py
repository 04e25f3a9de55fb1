"""`Client`: what a Python program uses to hand in work, to the servers that it reaches or over HTTP.

Invariant: a client keeps nothing. What it gives are handles, which any other process can make too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery_app.desk import Desk
from celery_app.errors import ConfigurationError
from celery_app.handles import RunHandle, TaskHandle, local_desk, remote_desk
from celery_app.project_handle import ProjectHandle, project_of
from celery_app.store.budgets import Budget
from workflows.errors import InvalidTask
from workflows.project import ProjectSpec
from workflows.project_plan import OnGoal
from workflows.task import (
    Priority,
    ResourceRequirements,
    SecurityRequirements,
    Task,
    TaskInput,
    TaskType,
)
from workflows.task_input import as_input
from workflows.workflow import Workflow

if TYPE_CHECKING:
    from celery_app.document_desk import Documents
    from celery_app.local_desk import LocalDesk
    from celery_app.security.guard import Guard
    from celery_app.store.projects import Listed


class Client:
    """Hands in work. Uses the configured servers, or starts the embedded ones; with `url` asks an API.

    Args:
        token: Who asks, as `ai-agent token create` printed it; by default the one in AI_AGENT_TOKEN, or
            else the user of this process. What they may do the policy says; each method raises
            `PermissionDenied` where they may not.
        url: Of the HTTP API, such as `http://localhost:8000`. All methods do the same over HTTP, and this
            process needs no settings, keys or servers of the system.

    Raises:
        ConfigurationError: The settings are wrong.
        ServiceUnavailable: A configured server does not answer.
    """

    def __init__(self, token: str | None = None, *, url: str | None = None) -> None:
        self.desk: Desk = local_desk(token) if url is None else remote_desk(url, token)

    @property
    def permissions(self) -> Guard:
        """What says who may do what. Over HTTP the server has it."""
        return self._here.permissions

    @property
    def documents(self) -> Documents:
        """What writes documents and knows their versions."""
        return self.desk.documents

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
                "inputs": [as_input(given) for given in inputs],
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
        given = [as_input(one) for one in inputs]
        task = _validated({"description": description, "inputs": given, "plan": True}, "task")
        return self.desk.plan(task)

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
        self.desk.set_project_budget(project, tokens=tokens, calls=calls, seconds=seconds)

    def project_budget(self, project: str) -> Budget:
        """Return what the tasks of a project have used up, and what they may."""
        return self.desk.project_budget(project)

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
            on_goal: Is told of each goal that has just been planned; over HTTP when all of them are.
        """
        found, texts = project_of(spec, inputs)
        return self.project(self.desk.create_project(found, texts, on_goal).name)

    def change_project(
        self,
        spec: ProjectSpec | Path,
        inputs: Mapping[str, str] | None = None,
        on_goal: OnGoal | None = None,
    ) -> ProjectHandle:
        """Change a project and plan again what that touches; see `create_project`."""
        found, texts = project_of(spec, inputs)
        return self.project(self.desk.change_project(found, texts, on_goal).name)

    def project(self, name: str) -> ProjectHandle:
        """Return the handle of a project that was created before, here or elsewhere."""
        return ProjectHandle(name, self.desk)

    def projects(self) -> list[Listed]:
        """Return all projects in short, the newest first."""
        return self.desk.projects()

    def check_models(self) -> None:
        """Make sure that the models of the roster are to be had, before somebody waits for them.

        Raises:
            ModelUnreachable: No model server answers.
            ModelMissing: Those that answer lack a model.
        """
        self.desk.check_models()

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
        run = self.desk.start(
            workflow,
            inputs or {},
            run_id=run_id,
            project=project,
            priority=priority,
            resources=resources,
        )
        return RunHandle(run, self.desk)

    def register_workflow(self, workflow: Workflow | Path | str) -> None:
        """Put the triggers of a workflow in force; beat does so by itself for the workflow files.

        Raises:
            InvalidWorkflow: It has mistakes; all of them are told.
        """
        self.desk.register(workflow)

    def emit(self, event: str, payload: Any = None, *, key: str | None = None) -> list[RunHandle]:
        """Tell that an event has happened; start every workflow with a trigger for it.

        Args:
            event: Its name.
            payload: What is known of it; in the trigger's `with` it is `run.event`.
            key: Telling of an event twice under one key starts each workflow once.
        """
        return [RunHandle(run_id, self.desk) for run_id in self.desk.emit(event, payload, key)]

    def runs(self, workflow: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return the runs that were started last, newest first: of one workflow, or of all."""
        return self.desk.runs(workflow, limit)

    def workflows(self) -> list[Workflow]:
        """Return the workflows that there are files of; those with mistakes are left out."""
        return self.desk.workflows()

    def read_workflow(self, path: Path) -> Workflow:
        """Return the workflow of a file. Raises `InvalidWorkflow` with all that is wrong with it."""
        return self.desk.read_workflow(path)

    def run(self, run_id: UUID | str) -> RunHandle:
        """Return the handle of a run that was started before, here or elsewhere."""
        return RunHandle(run_id, self.desk)

    def task(self, task_id: UUID | str) -> TaskHandle:
        """Return the handle of a task that was handed in before, here or elsewhere."""
        return TaskHandle(task_id, self.desk)

    def tasks(self, state: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return the documents of the tasks that were handed in last (no subtasks), newest first."""
        return self.desk.tasks(state, limit)

    @property
    def _here(self) -> LocalDesk:
        """The desk of this process, for what is not asked for over HTTP."""
        from celery_app.local_desk import LocalDesk

        if not isinstance(self.desk, LocalDesk):
            raise ConfigurationError(
                "only a client that reaches the servers itself has this: make one without url"
            )
        return self.desk

    def _submit(self, fields: dict[str, Any]) -> TaskHandle:
        return TaskHandle(self.desk.submit(_validated(fields, "task")), self.desk)


def _validated(given: Task | Mapping[str, Any], place: str) -> Task:
    if isinstance(given, Task):
        return given
    try:
        return Task.read(given)
    except InvalidTask as error:
        words = str(error).removeprefix("the task is refused: ")
        raise InvalidTask(f"{place}: {words}") from error
