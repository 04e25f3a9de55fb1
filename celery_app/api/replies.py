"""What requests get, as models: the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from workflows.document import DocumentationType
from workflows.state import StepStatus, TaskState
from workflows.task import TaskType

__all__ = [
    "AlertPage",
    "Event",
    "LogPage",
    "Outcome",
    "Problem",
    "ProjectDocument",
    "RunDocument",
    "RunPage",
    "Standing",
    "TaskDocument",
    "TaskPage",
    "Writing",
]


class _Given(BaseModel):
    model_config = ConfigDict(extra="allow")


class Problem(_Given):
    """What went wrong: `kind` names the error, `detail` says what to do."""

    type: str
    title: str
    status: int
    kind: str
    exit_code: int
    detail: str
    errors: list[dict[str, Any]] = []


class Tokens(BaseModel):
    """Tokens of models."""

    prompt: int
    generated: int


class TaskDocument(_Given):
    """A task as it stands; `tasks` are all below it, where the whole tree was asked for.

    In lists a result of more than some kilobytes is left out: `result` is null, `result_omitted` is true.
    """

    id: UUID
    parent_id: UUID | None
    type: TaskType | str
    description: str
    state: TaskState
    agent: str | None
    priority: str
    dependencies: list[UUID]
    attempts: int
    result: Any
    error: dict[str, Any] | None
    tokens: Tokens
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class Standing(_Given):
    """How something stands, for those who may steer it and not see it."""

    id: UUID
    state: TaskState


class TaskPage(BaseModel):
    """A page of tasks."""

    items: list[TaskDocument]
    next: str | None


class StepDocument(_Given):
    """A step of a run."""

    id: str
    state: StepStatus
    output: Any
    error: Any
    tasks: list[TaskDocument]


class RunDocument(_Given):
    """A run of a workflow."""

    id: UUID
    workflow: str
    state: TaskState
    inputs: dict[str, Any]
    outputs: Any
    error: Any
    steps: list[StepDocument]


class RunEntry(_Given):
    """A run in a list."""

    id: UUID
    workflow: str
    state: TaskState
    created_at: datetime
    finished_at: datetime | None
    error: str | None


class RunPage(BaseModel):
    """A page of runs."""

    items: list[RunEntry]
    next: str | None


class Event(_Given):
    """Something that happened."""

    id: int
    at: datetime
    task_id: UUID
    kind: str
    cause: str | None


class Outcome(_Given):
    """What came of something: its result, or its error, once `over` is true."""

    state: TaskState
    over: bool
    result: Any = None
    error: dict[Literal["kind", "detail"], str] | None = None


class ProjectDocument(_Given):
    """A project as it stands: goals with their standing, the plan, the timeline, and what it has taken."""

    id: UUID
    name: str
    description: str
    goals: list[dict[str, Any]]
    plan: dict[str, Any] | None
    timeline: dict[str, Any] | None
    figures: dict[str, Any]


class Writing(BaseModel):
    """A document that is being written: its sections, those written anew, and the run that does it."""

    project: str
    type: DocumentationType
    sections: list[str]
    written: list[str]
    run: UUID | None


class LogEntry(_Given):
    """Something that was said."""

    id: int
    timestamp: datetime
    level: str
    logger: str
    message: str


class LogPage(BaseModel):
    """A page of the log, the newest first."""

    items: list[LogEntry]
    next: str | None


class AlertEntry(_Given):
    """An alert."""

    id: int
    rule: str
    severity: str
    state: Literal["firing", "resolved"]
    message: str
    fired_at: datetime


class AlertPage(BaseModel):
    """A page of alerts, the newest first."""

    items: list[AlertEntry]
    next: str | None
