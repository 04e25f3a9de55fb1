"""`Task`: what a person asks for, with all that it needs and all that it may do.

Invariant: a `Task` that was made can be stored and read back unchanged. Whatever PostgreSQL or
JSON would refuse or alter (a NUL character, a naive deadline, a tuple) is refused here already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Literal, Self
from uuid import UUID, uuid4

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from workflows.errors import InvalidTask
from workflows.problem import shown
from workflows.schemas import schema_fault
from workflows.storable import (
    DEEPEST,
    Amount,
    Count,
    JsonList,
    JsonObject,
    MemorySize,
    Moment,
    Name,
    SetOf,
    Text,
    bytes_of,
    shape_fault,
)

__all__ = [
    "MAX_NESTING",
    "Capability",
    "Priority",
    "ResourceRequirements",
    "RetryPolicy",
    "SecurityLevel",
    "SecurityRequirements",
    "Task",
    "TaskInput",
    "TaskType",
]

#: Faults that are told at once.
_MOST_FAULTS = 20

MAX_NESTING = 32
"""How deep subtasks may stand; JSON readers give up not far beyond."""


class TaskType(StrEnum):
    """What kind of work a task is."""

    GENERAL = "general"
    PLANNING = "planning"
    RESEARCH = "research"
    ANALYSIS = "analysis"
    WRITING = "writing"
    REVIEW = "review"
    SUMMARY = "summary"
    CODE = "code"
    DATA = "data"
    CHORE = "chore"


class Capability(StrEnum):
    """What an agent can do and a task can require."""

    PLANNING = "planning"
    RESEARCH = "research"
    ANALYSIS = "analysis"
    WRITING = "writing"
    REVIEW = "review"
    SUMMARIZATION = "summarization"
    CODING = "coding"
    DATA = "data"
    TOOLS = "tools"
    EMBEDDING = "embedding"


class Priority(StrEnum):
    """How urgent a task is; the more urgent one is the greater: `LOW < CRITICAL`."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def level(self) -> int:
        """The priority of its messages on Redis, where 0 is served first and 9 last."""
        return {"critical": 0, "high": 3, "normal": 6, "low": 9}[self.value]

    # A str compares by letters, which would put "critical" below "high".
    def __lt__(self, other: str) -> bool:
        return self.level > Priority(other).level

    def __le__(self, other: str) -> bool:
        return self.level >= Priority(other).level

    def __gt__(self, other: str) -> bool:
        return self.level < Priority(other).level

    def __ge__(self, other: str) -> bool:
        return self.level <= Priority(other).level


class SecurityLevel(StrEnum):
    """How closely the words of a task are kept, from everybody's to almost nobody's."""

    PUBLIC = "public"
    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    SECRET = "secret"  # noqa: S105


class ResourceRequirements(BaseModel):
    """The most a task may use; None sets no limit of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: Amount | None = Field(None, description="Cores.")
    memory: MemorySize | None = Field(None, description='As in "1Gi".')
    tokens: Count | None = Field(None, description="Prompt and generated tokens together.")
    model_calls: Count | None = Field(None, description="Calls of a chat model.")
    seconds: Amount | None = Field(None, description="Time at work.")

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes."""
        return bytes_of(self.memory) if self.memory else None


class SecurityRequirements(BaseModel):
    """How closely a task is kept, and what it may touch: no tool and no network unless named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: SecurityLevel = SecurityLevel.INTERNAL
    allowed_tools: SetOf[Name] = Field(default_factory=set)
    network: bool = False

    @classmethod
    def covering(cls, parts: Iterable[SecurityRequirements]) -> Self:
        """Return the least that allows everything that one of the parts does."""
        known = list(parts)
        levels = list(SecurityLevel)
        return cls(
            level=max(
                (one.level for one in known), key=levels.index, default=SecurityLevel.INTERNAL
            ),
            allowed_tools={tool for one in known for tool in one.allowed_tools},
            network=any(one.network for one in known),
        )


class RetryPolicy(BaseModel):
    """How often and when a task is tried again after an error.

    `on` names exception classes, bases included; empty means any. The pause before try n is
    `seconds`, doubled each time when `backoff` is exponential, give or take a fifth.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max: int = Field(0, strict=True, ge=0, le=1000, description="Tries after the first.")
    seconds: Amount = 1.0
    backoff: Literal["exponential", "fixed"] = "exponential"
    on: list[Name] = Field(default_factory=list)


class TaskInput(BaseModel):
    """A text that a task works on; steps of a plan pick theirs by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    text: Text


class Task(BaseModel):
    """A piece of work for an agent (`description`) or for a Celery task (`task`, `args`, `kwargs`).

    `dependencies` are ids of tasks that must succeed first; those of a subtask name its siblings.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    id: UUID = Field(default_factory=uuid4)
    type: TaskType = TaskType.GENERAL
    description: Text = ""
    priority: Priority = Priority.NORMAL
    dependencies: list[UUID] = Field(default_factory=list)
    deadline: Moment | None = None
    metadata: JsonObject = Field(default_factory=dict)
    subtasks: list[Task] = Field(default_factory=list)
    parent_task: UUID | None = None
    required_capabilities: SetOf[Capability] = Field(default_factory=set)
    resource_requirements: ResourceRequirements = Field(default_factory=ResourceRequirements)
    security_requirements: SecurityRequirements = Field(default_factory=SecurityRequirements)
    task: Name | None = Field(None, description="Wire name of a registered Celery task.")
    args: JsonList = Field(default_factory=list)
    kwargs: JsonObject = Field(default_factory=dict)
    agent: Name | None = Field(None, description="Name or type of the agent to do it.")
    inputs: list[TaskInput] = Field(default_factory=list)
    plan: bool | None = Field(None, description="Ask for a plan, forbid it, or let a rule decide.")
    idempotency_key: Name | None = None
    project: Name | None = Field(None, description="What it belongs to, with all below it.")
    concurrency_key: Name | None = Field(
        None, description="Of tasks with one key only so many run at once as its limit says."
    )
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    timeout: Amount | None = Field(None, description="Seconds for one attempt.")
    output: JsonObject | None = Field(None, description="JSON schema of the result.")

    @field_validator("output")
    @classmethod
    def _check_output(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None and (fault := schema_fault(schema)):
            raise ValueError(fault)
        return schema

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if not self.description.strip() and self.task is None:
            raise ValueError("nothing to do: give a description, or the name of a Celery task")
        if (self.args or self.kwargs) and self.task is None:
            raise ValueError("args and kwargs go to a Celery task; name it in task")
        names = [item.name for item in self.inputs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two inputs are named {twice[0]!r}; give each its own name")
        return self

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Make a task of plain data; raises `InvalidTask` with every fault on one line."""
        # Each subtask stands in a list and in a mapping.
        if fault := shape_fault(data, DEEPEST + 2 * MAX_NESTING):
            raise InvalidTask(f"the task is refused: {fault}")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            # Keys are the caller's words too, and may hold line breaks.
            faults = " ".join(_faults(error).split())
            raise InvalidTask(f"the task is refused: {faults}") from error
        except Exception as error:
            # An object of the caller's that cannot even be looked at.
            raise InvalidTask(
                f"the task is refused: it cannot be read ({type(error).__name__})"
            ) from error

    def walk(self) -> Iterator[Task]:
        """Yield this task and everything below it, parents before their subtasks."""
        stack = [self]
        while stack:
            task = stack.pop()
            yield task
            stack.extend(reversed(task.subtasks))


def _faults(error: ValidationError) -> str:
    faults = []
    told = error.errors(include_url=False, include_context=False)
    for fault in told[:_MOST_FAULTS]:
        where = ".".join(str(part)[:60] for part in fault["loc"])
        words = fault["msg"].removeprefix("Value error, ")
        # A fault of the whole has no value of its own worth repeating.
        given = f" {shown(fault['input'])}" if where else ""
        faults.append(f"{where}{given}: {words}" if where else words)
    more = len(told) - _MOST_FAULTS
    return "; ".join([*faults, f"and {more} more"] if more > 0 else faults)
