"""What requests bring and what they get, as models: the OpenAPI document is made of these.

Invariant: what a request brings is closed to keys that nobody knows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workflows.state import StepStatus, TaskState
from workflows.storable import Amount, JsonObject, Name, Text, json_fault, text_fault
from workflows.task import Priority, ResourceRequirements, TaskType

__all__ = [
    "Answer",
    "Budget",
    "Definition",
    "Event",
    "EventNews",
    "Fork",
    "Gift",
    "Identified",
    "Key",
    "LastEvent",
    "Limit",
    "Outcome",
    "Problem",
    "RunDocument",
    "RunPage",
    "RunStart",
    "Standing",
    "TaskDocument",
    "TaskPage",
    "TokenWish",
    "Words",
    "WorkflowText",
]


def _storable(value: Any) -> Any:
    if fault := json_fault(value):
        raise ValueError(fault)
    return value


def _plain(text: str) -> str:
    if fault := text_fault(text):
        raise ValueError(fault)
    return text


Storable = Annotated[Any, AfterValidator(_storable)]
Words = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_plain)]
"""Something's name in an address."""
Identified = Annotated[UUID, Path(description="The id.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Entries on a page.")]
LastEvent = Header(description="The last event's id; the stream goes on behind it.")
Key = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]


class _Brought(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Given(BaseModel):
    model_config = ConfigDict(extra="allow")


class Definition(_Brought):
    """A workflow: `workflow` names one of the files or is one itself, or `text` is its YAML (or JSON)."""

    workflow: Words | JsonObject | None = Field(None, examples=["market-report"])
    text: Text | None = None
    file: Words = Field("workflow", description="What messages call the text.")


class RunStart(Definition):
    """A run to be started, of a workflow as `Definition` has it."""

    inputs: JsonObject = Field(default_factory=dict, examples=[{"topic": "electric bicycles"}])
    id: UUID | None = Field(None, description="Starting twice under one id starts one run.")
    project: Name | None = None
    priority: Priority = Priority.NORMAL
    resources: ResourceRequirements | None = None


class WorkflowText(_Brought):
    """A workflow as YAML (or JSON) text."""

    text: Text = Field(
        examples=["name: greet\nsteps:\n  - {id: hello, task: chore.echo, args: [1]}\n"]
    )
    file: Words = Field("workflow", description="What messages call it.")


class Answer(_Brought):
    """An answer to a step that asks."""

    answer: Storable = Field(None, description="One of its options, or what its schema asks for.")
    by: Name | None = Field(None, description="Who answers; by default whoever asks here.")


class Fork(_Brought):
    """What is to be different in the new run."""

    step: Words | None = Field(None, description="Run this step and all after it again.")
    inputs: JsonObject = Field(default_factory=dict)
    workflow: JsonObject | None = Field(None, description="Another definition.")


class Gift(_Brought):
    """What a task may use up in addition."""

    tokens: int = Field(0, ge=0, le=2**53)
    calls: int = Field(0, ge=0, le=2**53)
    seconds: float = Field(0, ge=0, le=2**53)


class Budget(_Brought):
    """What all tasks of a project together may use up; null is no limit."""

    tokens: int | None = Field(None, ge=1, le=2**53)
    calls: int | None = Field(None, ge=1, le=2**53)
    seconds: Amount | None = None


class EventNews(_Brought):
    """What is known of an event."""

    payload: Storable = Field(None, examples=[{"text": "The printer is on fire"}])
    key: Name | None = Field(None, description="Twice under one key starts each workflow once.")


class TokenWish(_Brought):
    """A token that is to be made."""

    name: Name = Field(examples=["ci"])
    scopes: list[Name] = Field(default_factory=list, max_length=100, examples=[["task.*"]])
    seconds: Amount | None = Field(None, description="For how long it is good.", le=10**10)


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
    """A task as it stands; `tasks` are all below it, where the whole tree was asked for."""

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
