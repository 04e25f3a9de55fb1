"""The states of a task, the statuses of a workflow step, and the one table of allowed changes.

Invariant: no state is ever written but through this table. Every change in the database is an
UPDATE guarded by the states that `StateManager.sources` names for the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from workflows.errors import IllegalTransition

__all__ = ["StateManager", "StepStatus", "TaskState"]


class StepStatus(StrEnum):
    """How a step of a workflow stands, as its author sees it."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class TaskState(StrEnum):
    """Where a task is in its life.

    `WAITING` is for an approval, a budget or free resources; an `EXPANDED` task has been replaced
    by its subtasks and becomes queued once more to collect their results.
    """

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    EXPANDED = "expanded"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Whether nothing but a user's retry can change the task any more."""
        return self in _FINAL

    @property
    def step_status(self) -> StepStatus:
        """The same, in the words of a workflow's author."""
        return _STATUS[self]


_FINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})

_STATUS: Mapping[TaskState, StepStatus] = MappingProxyType(
    {
        TaskState.PENDING: StepStatus.PENDING,
        TaskState.QUEUED: StepStatus.PENDING,
        TaskState.RUNNING: StepStatus.RUNNING,
        TaskState.WAITING: StepStatus.WAITING,
        TaskState.EXPANDED: StepStatus.RUNNING,
        TaskState.SUCCEEDED: StepStatus.SUCCESS,
        TaskState.FAILED: StepStatus.ERROR,
        TaskState.CANCELLED: StepStatus.CANCELLED,
        TaskState.SKIPPED: StepStatus.SKIPPED,
    }
)


def _states(names: str) -> frozenset[TaskState]:
    return frozenset(TaskState(name) for name in names.split())


_CHANGES: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.PENDING: _states("queued expanded cancelled skipped failed"),
        TaskState.QUEUED: _states("running waiting expanded cancelled skipped failed"),
        TaskState.RUNNING: _states("succeeded failed cancelled queued waiting expanded"),
        TaskState.WAITING: _states("queued cancelled failed skipped"),
        TaskState.EXPANDED: _states("queued cancelled failed"),
        TaskState.SUCCEEDED: _states(""),
        TaskState.FAILED: _states(""),
        TaskState.CANCELLED: _states(""),
        TaskState.SKIPPED: _states(""),
    }
)

# A user may ask for another try of what failed or was cancelled; the system never does.
_RETRIES: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        TaskState.FAILED: _states("pending queued expanded"),
        TaskState.CANCELLED: _states("pending queued expanded"),
        TaskState.SKIPPED: _states("pending"),
    }
)


class StateManager:
    """Says which state may follow which. It keeps nothing, so any number of them agree."""

    def targets(self, old: TaskState, *, by_user: bool = False) -> frozenset[TaskState]:
        """Return the states that may follow `old`; `by_user` adds what only a person may ask."""
        retries = _RETRIES.get(old, frozenset()) if by_user else frozenset()
        return _CHANGES[old] | retries

    def sources(self, new: TaskState, *, by_user: bool = False) -> frozenset[TaskState]:
        """Return the states that `new` may follow: the guard of an UPDATE."""
        return frozenset(old for old in TaskState if new in self.targets(old, by_user=by_user))

    def allows(self, old: TaskState, new: TaskState, *, by_user: bool = False) -> bool:
        """Say whether `new` may follow `old`. No state follows itself."""
        return new in self.targets(old, by_user=by_user)

    def check(self, old: TaskState, new: TaskState, *, by_user: bool = False) -> None:
        """Raise `IllegalTransition` unless `new` may follow `old`."""
        if self.allows(old, new, by_user=by_user):
            return
        allowed = ", ".join(s for s in TaskState if self.allows(old, s, by_user=by_user))
        if allowed:
            advice = f"it can become {allowed}"
        elif self.targets(old, by_user=True):
            advice = "it is final; only a user's retry queues it again"
        else:
            advice = "it is final; submit a new task instead"
        raise IllegalTransition(f"a task that is {old} cannot become {new}: {advice}")
