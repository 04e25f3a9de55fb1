"""`TaskHandle` and `RunHandle`: what was handed in, to be waited for, followed and steered.

Invariant: a handle is an id and a desk to ask. Another process can make the same handle and wait for the
same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, overload
from uuid import UUID

from celery_app.desk import Desk, Kind
from celery_app.errors import UnknownTask, WaitTimeout
from workflows.problem import shown
from workflows.workflow import Workflow

__all__ = ["RunHandle", "TaskHandle", "local_desk", "remote_desk"]


def local_desk(token: str | None = None) -> Desk:
    """Return the desk of this process, with its servers ready.

    Imported when it is asked for: whoever asks an API has neither settings nor keys for it.
    """
    from celery_app.celery import guard, prepare
    from celery_app.local_desk import LocalDesk

    prepare()
    return LocalDesk(guard(token))


def remote_desk(url: str, token: str | None = None) -> Desk:
    """Return the desk of an API. Who reaches the servers themselves does not pay for its import."""
    from celery_app.remote_desk import RemoteDesk

    return RemoteDesk(url, token)


class TaskHandle:
    """A task that was handed in.

    Args:
        task_id: Its id, which is its Celery id.
        desk: Who is asked about it; by default the desk of this process.

    Raises:
        UnknownTask: No task can have such an id.
    """

    _kind: ClassVar[Kind] = "task"

    def __init__(self, task_id: UUID | str, desk: Desk | None = None) -> None:
        try:
            self.id = UUID(str(task_id))
        except ValueError:
            raise UnknownTask(
                f"no task has the id {shown(task_id)}; `ai-agent task list` shows them"
            ) from None
        self._desk = desk or local_desk()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.id)!r})"

    @property
    def state(self) -> str:
        """The task's present state."""
        return self._desk.state(self._kind, self.id)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result; woken by a push from Postgres.

        Args:
            timeout: Seconds to wait; by default as long as it takes.

        Raises:
            TaskFailed: It did not succeed (TaskCancelled, TaskSkipped where that is the reason).
            WaitTimeout: It is not over yet; it goes on.
        """
        outcome = self._desk.outcome(self._kind, self.id, timeout)
        if outcome.error is not None:
            raise outcome.error
        if not outcome.over:
            raise WaitTimeout(
                f"task {self.id} is {outcome.state} after {timeout:g} s; it goes on: "
                f"`ai-agent task wait {self.id}`"
            )
        return outcome.result

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
        if follow:
            return self._desk.follow(self._kind, self.id, after, text)
        return self._desk.events(self._kind, self.id, after)

    def give(self, *, tokens: int = 0, calls: int = 0, seconds: float = 0) -> None:
        """Add to the task's budget; what waited for it goes on.

        Raises:
            InvalidTask: It has no budget of its own.
        """
        self._desk.give(self.id, tokens=tokens, calls=calls, seconds=seconds)

    def cancel(self) -> None:
        """Cancel the task and everything below it."""
        self._desk.cancel(self._kind, self.id)

    def retry(self) -> None:
        """Try again what failed or was cancelled at or below the task; what succeeded is kept.

        Raises:
            IllegalTransition: Nothing in it failed or was cancelled, or it is part of a workflow's run.
        """
        self._desk.retry(self.id)

    def tree(self) -> dict[str, Any]:
        """Return the task's document, its plan, and all its descendants under ``tasks``."""
        return self._desk.tree(self._kind, self.id)


class RunHandle(TaskHandle):
    """A run of a workflow. Its result are the outputs of the workflow.

    Args:
        task_id: Its id, which is its Celery id.
        desk: Who is asked about it; by default the desk of this process.
    """

    _kind = "run"

    @property
    def workflow(self) -> Workflow:
        """The definition that it keeps."""
        return self._desk.definition(self.id)

    def tree(self) -> dict[str, Any]:
        """Return the run's document: inputs, outputs, and its steps with their tasks."""
        return super().tree()

    def approve(self, step: str, *, answer: Any = None, by: str | None = None) -> None:
        """Answer the question of a step with yes; see `WorkflowEngine.approve`."""
        self._desk.answer(self.id, step, approved=True, answer=answer, by=by)

    def reject(self, step: str, *, answer: Any = None, by: str | None = None) -> None:
        """Answer the question of a step with no; see `WorkflowEngine.approve`."""
        self._desk.answer(self.id, step, approved=False, answer=answer, by=by)

    def resume(self) -> None:
        """Go on after it failed or was cancelled; see `WorkflowEngine.resume`."""
        self._desk.resume(self.id)

    def fork(
        self,
        step: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        workflow: Workflow | None = None,
    ) -> RunHandle:
        """Start a new run that reuses what has not changed; see `WorkflowEngine.fork`."""
        forked = self._desk.fork(self.id, step, inputs=inputs, workflow=workflow)
        return RunHandle(forked, self._desk)
