"""`Desk`: where work is handed in and asked after, in this process or at a server.

Invariant: clients and handles know nothing else of the system. Whoever serves them (`LocalDesk`, which the
HTTP API serves as well, or `RemoteDesk`, which asks that API) takes and gives the same values and
raises the same errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID

from celery_app.document_desk import Documents
from celery_app.errors import TaskFailed
from celery_app.store.budgets import Budget
from celery_app.store.projects import Listed
from workflows.artifact import ProjectArtifact
from workflows.project import Project, ProjectSpec
from workflows.project_plan import OnGoal
from workflows.task import Priority, ResourceRequirements, Task
from workflows.workflow import Workflow

__all__ = ["Desk", "Kind", "Outcome"]

#: What a handle is of; a run is asked for as a workflow, a task as a task.
Kind = Literal["task", "run"]


@dataclass(frozen=True)
class Outcome:
    """What came of something: its result, or the error that stands for it, once it is over."""

    state: str
    over: bool
    result: Any = None
    error: TaskFailed | None = None


class Desk(Protocol):
    """Takes work in, tells how it stands, and steers it. Every verb raises `PermissionDenied`."""

    @property
    def documents(self) -> Documents:
        """Documents about projects."""

    def submit(self, task: Task) -> UUID:
        """Hand in a task. Raises `InvalidTask`; nothing was stored then."""

    def plan(self, task: Task) -> dict[str, Any]:
        """Have a task planned, and run nothing. Raises `AgentError`."""

    def tasks(self, state: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the documents of the tasks handed in last, newest first."""

    def state(self, kind: Kind, task_id: UUID) -> str:
        """Return the present state. Raises `UnknownTask`; so with all that take an id."""

    def outcome(self, kind: Kind, task_id: UUID, timeout: float | None) -> Outcome:
        """Wait for the end, at most so many seconds; 0 only looks."""

    def events(self, kind: Kind, task_id: UUID, after: int) -> list[dict[str, Any]]:
        """Return what happened in the run, oldest first, from the event after `after` on."""

    def follow(self, kind: Kind, task_id: UUID, after: int, text: bool) -> Iterator[dict[str, Any]]:
        """Yield events as they happen until the run is over, with `text` also what models say."""

    def tree(self, kind: Kind, task_id: UUID) -> dict[str, Any]:
        """Return the document."""

    def cancel(self, kind: Kind, task_id: UUID) -> None:
        """Cancel it and everything below it."""

    def retry(self, task_id: UUID) -> None:
        """Try again what failed or was cancelled. Raises `IllegalTransition`."""

    def give(self, task_id: UUID, *, tokens: int, calls: int, seconds: float) -> None:
        """Add to the budget of a task. Raises `InvalidTask` if it has none."""

    def workflows(self) -> list[Workflow]:
        """Return the workflows of the files."""

    def read_workflow(self, path: Path) -> Workflow:
        """Return the workflow of a file of the caller's. Raises `InvalidWorkflow`."""

    def start(
        self,
        workflow: Workflow | Path | str,
        inputs: Mapping[str, Any],
        *,
        run_id: UUID | None,
        project: str | None,
        priority: Priority | str,
        resources: ResourceRequirements | Mapping[str, Any] | None,
    ) -> UUID:
        """Start a run. Raises `InvalidWorkflow` and `InvalidInputs`; nothing was started then."""

    def runs(self, workflow: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the runs that were started last, newest first."""

    def definition(self, run_id: UUID) -> Workflow:
        """Return the definition that a run keeps."""

    def answer(
        self, run_id: UUID, step: str, *, approved: bool, answer: Any, by: str | None
    ) -> None:
        """Answer what a step asks. Raises `IllegalTransition` if it asks nothing."""

    def resume(self, run_id: UUID) -> None:
        """Go on with a run that failed or was cancelled."""

    def fork(
        self,
        run_id: UUID,
        step: str | None,
        *,
        inputs: Mapping[str, Any] | None,
        workflow: Workflow | None,
    ) -> UUID:
        """Start a new run that reuses what has not changed."""

    def register(self, workflow: Workflow | Path | str) -> None:
        """Put the triggers of a workflow in force."""

    def emit(self, event: str, payload: Any, key: str | None) -> list[UUID]:
        """Tell that an event has happened; return the runs that this starts."""

    def set_project_budget(
        self, project: str, *, tokens: int | None, calls: int | None, seconds: float | None
    ) -> None:
        """Set what all tasks of a project together may use up; None is no limit."""

    def project_budget(self, project: str) -> Budget:
        """Return how the budget of a project stands. Raises `InvalidTask` if it has none."""

    def projects(self) -> list[Listed]:
        """Return all projects in short, the newest first."""

    def create_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> Project:
        """Create a project and have it planned. Raises `InvalidProject`, `AgentError`."""

    def change_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> Project:
        """Change a project and plan again what that touches. Raises `UnknownProject`."""

    def project(self, name: str) -> Project:
        """Return a project as it stands. Raises `UnknownProject`; so with all that take a name."""

    def project_document(self, name: str) -> dict[str, Any]:
        """Return a project's document, with what it has taken so far under `figures`."""

    def run_project(self, name: str, goals: Sequence[str]) -> UUID:
        """Start the work on goals; return the run."""

    def accept_goal(self, name: str, goal: str) -> None:
        """Accept the result of a goal. Raises `IllegalTransition`."""

    def artifacts(self, name: str) -> list[ProjectArtifact]:
        """Return what the work of a project has brought forth, the newest first."""

    def artifact(self, name: str, artifact: str) -> bytes:
        """Return the content of the newest artifact of a name. Raises `UnknownArtifact`."""

    def add_artifact(
        self, name: str, artifact: str, content: bytes, file: str | None
    ) -> ProjectArtifact:
        """Keep a content as an artifact; the name of its file tells its type."""

    def check_models(self) -> None:
        """Make sure that the models of the roster are to be had. Raises `AgentError`."""
