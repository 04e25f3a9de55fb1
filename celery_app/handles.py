"""`TaskHandle` and `RunHandle`: what was handed in, to be waited for, followed and steered.

Invariant: a handle is an id. Another process can make the same handle and wait for the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, overload
from uuid import UUID

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult

from celery_app.celery import app
from celery_app.errors import UnknownTask, WaitTimeout
from celery_app.orchestrator import budgets
from celery_app.orchestrator.following import follow as follow_events
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.orchestrator.workflow_engine import WorkflowEngine
from workflows.problem import shown
from workflows.workflow import Workflow


class TaskHandle:
    """A task that was handed in.

    Args:
        task_id: Its id, which is its Celery id.

    Raises:
        UnknownTask: No task can have such an id.
    """

    def __init__(self, task_id: UUID | str, manager: TaskManager | None = None) -> None:
        try:
            self.id = UUID(str(task_id))
        except ValueError:
            raise UnknownTask(
                f"no task has the id {shown(task_id)}; `ai-agent task list` shows them"
            ) from None
        self._manager = manager or TaskManager()

    def __repr__(self) -> str:
        return f"TaskHandle({str(self.id)!r})"

    @property
    def state(self) -> str:
        """The task's present state."""
        self._require_read()
        return str(self._manager.store.get(str(self.id)).state)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result; woken by a push from Postgres.

        Args:
            timeout: Seconds to wait; by default as long as it takes.

        Raises:
            TaskFailed: It did not succeed (TaskCancelled, TaskSkipped where that is the reason).
            WaitTimeout: It is not over yet; it goes on.
        """
        self._require_read()
        try:
            return AsyncResult(str(self.id), app=app).get(timeout=timeout)
        except CeleryTimeout as error:
            raise WaitTimeout(
                f"task {self.id} is {self.state} after {timeout:g} s; it goes on: "
                f"`ai-agent task wait {self.id}`"
            ) from error

    @overload
    def events(self, after: int = 0) -> list[dict[str, Any]]: ...

    @overload
    def events(
        self, after: int = 0, *, follow: Literal[True], text: bool = False
    ) -> Iterator[dict[str, Any]]: ...

    def events(
        self, after: int = 0, *, follow: bool = False, text: bool = False
    ) -> list[dict[str, Any]] | Iterator[dict[str, Any]]:
        """Return what happened in the task's run, oldest first, from the event after `after` on.

        Args:
            after: The id of the last event that is known.
            follow: Go on until the run is over, with each event as it happens.
            text: While following, also what the models say as they say it, as events of the kind
                ``text`` with ``task_id``, ``attempt`` and ``text``. An attempt that is made again
                begins anew; pieces may be lost, the result never is.
        """
        self._require_read()
        store = self._manager.store
        if follow:
            return follow_events(store, str(self.id), after, text)
        return store.events(store.get(str(self.id)).root_id, after)

    def give(self, *, tokens: int = 0, calls: int = 0, seconds: float = 0) -> None:
        """Add to the task's budget; what waited for it goes on.

        Raises:
            InvalidTask: It has no budget of its own.
        """
        self._manager.require("budget.change", self.id)
        budgets.give(str(self.id), tokens=tokens, calls=calls, seconds=seconds)

    def _require_read(self) -> None:
        self._manager.require("task.read", self.id)

    def cancel(self) -> None:
        """Cancel the task and everything below it."""
        self._manager.cancel(self.id)

    def tree(self) -> dict[str, Any]:
        """Return the task's document, its plan, and all its descendants under ``tasks``."""
        return self._manager.tree(self.id)


class RunHandle(TaskHandle):
    """A run of a workflow. Its result are the outputs of the workflow.

    Args:
        run_id: Its id, which is its Celery id.
    """

    def __init__(self, run_id: UUID | str, engine: WorkflowEngine | None = None) -> None:
        self._engine = engine or WorkflowEngine({})
        super().__init__(run_id, TaskManager(permissions=self._engine.permissions))

    def __repr__(self) -> str:
        return f"RunHandle({str(self.id)!r})"

    @property
    def workflow(self) -> Workflow:
        """The definition that it keeps."""
        return self._engine.instance(self.id).workflow

    def tree(self) -> dict[str, Any]:
        """Return the run's document: inputs, outputs, and its steps with their tasks."""
        return self._engine.get(self.id)

    def _require_read(self) -> None:
        self._engine.require_read(self.id)

    def cancel(self) -> None:
        """Cancel the run; see `WorkflowEngine.cancel`."""
        self._engine.cancel(self.id)

    def approve(self, step: str, *, answer: Any = None, by: str | None = None) -> None:
        """Answer the question of a step with yes; see `WorkflowEngine.approve`."""
        self._engine.approve(self.id, step, answer=answer, by=by)

    def reject(self, step: str, *, answer: Any = None, by: str | None = None) -> None:
        """Answer the question of a step with no; see `WorkflowEngine.approve`."""
        self._engine.reject(self.id, step, answer=answer, by=by)

    def resume(self) -> None:
        """Go on after it failed or was cancelled; see `WorkflowEngine.resume`."""
        self._engine.resume(self.id)

    def fork(
        self,
        step: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        workflow: Workflow | None = None,
    ) -> RunHandle:
        """Start a new run that reuses what has not changed; see `WorkflowEngine.fork`."""
        forked = self._engine.fork(self.id, step, inputs=inputs, workflow=workflow)
        return RunHandle(forked, self._engine)
