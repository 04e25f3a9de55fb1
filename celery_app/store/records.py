"""Rows of the task table as Python values.

Invariant: a record is a snapshot; changing one changes nothing anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from celery_app.security.vault import Vault
from workflows.state import TaskState
from workflows.task import SecurityLevel
from workflows.workflow import Workflow

#: Why a step is no part of its parent: it had begun, and then the plan was another one.
UNPLANNED = "unplanned"
#: Priority names by Redis level, as stored.
PRIORITY_NAMES = {0: "critical", 3: "high", 6: "normal", 9: "low"}


@dataclass(frozen=True)
class NewTask:
    """A task row that is about to be written."""

    id: str
    root_id: str
    name: str
    queue: str
    state: TaskState
    spec: dict[str, Any]
    parent_id: str | None = None
    position: int = 0
    type: str = "general"
    agent: str | None = None
    priority: int = 6
    unmet: int = 0
    chain: tuple[str, ...] = ()
    idempotency_key: str | None = None
    timeout: float | None = None
    deadline: datetime | None = None
    quotas: tuple[str, ...] = ()
    amounts: tuple[float, ...] = ()
    budgets: tuple[str, ...] = ()
    step: str | None = None
    requested_by: str | None = None
    level: SecurityLevel = SecurityLevel.INTERNAL


@dataclass(frozen=True)
class NewRun:
    """A run of a workflow that is about to be written; its task has the same id.

    `definitions` are the workflow and those inside it, and `inside` the hashes of the latter by name.
    """

    id: str
    workflow: str
    digest: str
    inputs: dict[str, Any]
    context: dict[str, Any] = field(default_factory=dict)
    definitions: tuple[Workflow, ...] = ()
    inside: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    start: Start | None = None
    forked_from: str | None = None


@dataclass(frozen=True)
class Start:
    """What started a run, if not a person: the trigger, when it was due, and its event."""

    trigger: str | None = None
    due: datetime | None = None
    event: Any = None


@dataclass(frozen=True)
class NewQuota:
    """A limit for all workers: what may be taken at once, or starts in a second."""

    name: str
    capacity: float | None = None
    rate: float | None = None


@dataclass(frozen=True)
class NewBudget:
    """What a task or a project may use up; None is no limit."""

    id: str
    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class NewEdge:
    """A dependency that is about to be written: `body` waits for `task`."""

    task: str
    body: str
    position: int
    need: str = "success"


@dataclass
class NewGraph:
    """Rows that are about to be written together."""

    tasks: list[NewTask] = field(default_factory=list)
    edges: list[NewEdge] = field(default_factory=list)
    quotas: list[NewQuota] = field(default_factory=list)
    budgets: list[NewBudget] = field(default_factory=list)
    runs: list[NewRun] = field(default_factory=list)
    #: Tasks that are over, each with the one whose outcome it takes over.
    copies: list[tuple[str, str]] = field(default_factory=list)

    def requested_by(self, subject: str) -> NewGraph:
        """Return the same graph, with who asked for what is outermost in it."""
        tasks = [
            replace(task, requested_by=subject) if task.parent_id is None else task
            for task in self.tasks
        ]
        return replace(self, tasks=tasks)


@dataclass(frozen=True)
class Message:
    """What the broker must be told about one task."""

    id: str
    name: str
    queue: str
    priority: int
    type: str
    agent: str | None
    root_id: str
    parent_id: str | None


@dataclass(frozen=True)
class Claim:
    """The right to run a task, until its fencing token is outdated."""

    id: str
    fence: int
    attempt: int
    tries: int
    root_id: str
    parent_id: str | None
    agent: str | None
    budgets: tuple[str, ...]
    seconds_left: float | None
    spec: dict[str, Any]
    #: The queue that it came from, if more tasks wait there for their turn.
    backlog: str | None = None


@dataclass(frozen=True)
class TaskRecord:
    """A task as it stands."""

    id: str
    root_id: str
    parent_id: str | None
    name: str
    type: str
    agent: str | None
    priority: str
    state: TaskState
    attempts: int
    deadline: datetime | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    prompt_tokens: int
    generated_tokens: int
    cause: str | None
    reason: str | None
    step: str | None
    skipped_for: str | None
    risk: str | None
    requested_by: str | None
    budgets: tuple[str, ...]
    spec: dict[str, Any]
    result: Any
    error: dict[str, Any] | None
    dependencies: list[str] = field(default_factory=list)
    #: Whether there is a result that was left out here, because a list would become long by it.
    omitted: bool = False

    @classmethod
    def from_row(cls, row: Any, vault: Vault) -> TaskRecord:
        """Read a row of `task` with its dependencies. Raises `Unsealed`."""
        return cls(
            id=row.id,
            root_id=row.root_id,
            parent_id=row.parent_id,
            name=row.name,
            type=row.type,
            agent=row.agent,
            priority=PRIORITY_NAMES.get(row.priority, str(row.priority)),
            state=TaskState.WAITING if row.stuck else TaskState(row.state),
            attempts=row.attempts,
            deadline=row.deadline,
            created_at=row.created_at,
            queued_at=row.queued_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            prompt_tokens=row.prompt_tokens,
            generated_tokens=row.generated_tokens,
            cause=row.cause,
            reason=row.reason,
            step=row.step,
            skipped_for=row.skipped_for,
            risk=row.risk,
            requested_by=row.requested_by,
            budgets=tuple(row.budgets),
            spec=vault.unpack(row.spec, "task.spec", row.id),
            result=vault.unpack(row.result, "task.result", row.id),
            error=vault.unpack(row.error, "task.error", row.id),
            dependencies=list(row.dependencies or ()),
            omitted=row.omitted,
        )

    @property
    def seconds(self) -> float | None:
        """How long the last attempt took, once it has ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def as_json(self) -> dict[str, Any]:
        """Return the public document of a task."""
        omitted = {"result_omitted": True} if self.omitted else {}
        return {
            "id": self.id,
            "parent_id": self.parent_id,
            "type": self.type,
            "description": self.spec.get("description", ""),
            "task": self.spec.get("task"),
            "state": str(self.state),
            "agent": self.agent,
            "priority": self.priority,
            "dependencies": self.dependencies,
            "deadline": iso(self.deadline),
            "risk": self.risk if not self.state.is_final else None,
            "metadata": self.spec.get("metadata", {}),
            "attempts": self.attempts,
            "result": self.result,
            **omitted,
            "error": self.told_error(),
            "tokens": {"prompt": self.prompt_tokens, "generated": self.generated_tokens},
            "queued_at": iso(self.queued_at),
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
        }

    def told_error(self) -> dict[str, Any] | None:
        """Return the error, or the reason why the task never ran, as `{type, message}`."""
        if self.error is not None:
            return {key: self.error[key] for key in ("type", "message") if key in self.error}
        if self.state == TaskState.SKIPPED:
            return {"type": "Skipped", "message": skipped_for(self.skipped_for, self.cause)}
        if self.state == TaskState.CANCELLED:
            return {"type": "Cancelled", "message": f"cancelled with task {self.cause}"}
        return None


def skipped_for(why: str | None, cause: str | None) -> str:
    """Return in words why a task was skipped."""
    known = {
        "condition": "its condition did not hold",
        "unused": "what it stands in for did not fail",
        UNPLANNED: "it began while the plan was being made, and the plan does not have it",
        "failure": "something before it failed",
    }
    return known.get(why or "", f"task {cause} did not succeed")


def iso(moment: datetime | None) -> str | None:
    """Return a moment as JSON holds it."""
    return None if moment is None else moment.isoformat()
