"""What requests bring, as models: the OpenAPI document is made of these.

Invariant: it is closed to keys that nobody knows.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workflows.document import DocumentationType
from workflows.storable import Amount, JsonObject, Name, Text, json_fault, text_fault
from workflows.task import Priority, ResourceRequirements

__all__ = [
    "Answer",
    "Budget",
    "Definition",
    "EventNews",
    "Fork",
    "Gift",
    "Goals",
    "Hint",
    "Identified",
    "Key",
    "LastEvent",
    "Limit",
    "Numbered",
    "Place",
    "ProjectWish",
    "Restoring",
    "RunStart",
    "Silence",
    "TokenWish",
    "Version",
    "Words",
    "WorkflowText",
    "WritingWish",
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
Hint = Annotated[str, Query(max_length=500), AfterValidator(_plain)]
"""A word of a search, which may be empty."""
Identified = Annotated[UUID, Path(description="The id.")]
Limit = Annotated[int, Query(ge=1, le=500, description="Entries on a page.")]
LastEvent = Header(description="The last event's id; the stream goes on behind it.")
Key = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]
Numbered = Annotated[int, Path(ge=1, lt=2**63, description="The number.")]
Place = Annotated[
    int | None, Query(ge=1, lt=2**63, description="`next` of the page before.", examples=[None])
]
Version = Annotated[int, Field(ge=1, lt=2**31)]


class _Brought(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

    tokens: int = Field(0, strict=True, ge=0, le=2**53)
    calls: int = Field(0, strict=True, ge=0, le=2**53)
    seconds: float = Field(0, strict=True, ge=0, le=2**53)


class Budget(_Brought):
    """What all tasks of a project together may use up; null is no limit."""

    tokens: int | None = Field(None, strict=True, ge=1, le=2**53)
    calls: int | None = Field(None, strict=True, ge=1, le=2**53)
    seconds: Amount | None = None


class EventNews(_Brought):
    """What is known of an event."""

    payload: Storable = Field(None, examples=[{"text": "The printer is on fire"}])
    key: Name | None = Field(None, description="Twice under one key starts each workflow once.")


class ProjectWish(_Brought):
    """A project with its inputs: `project` has the keys of a file, or `text` is a file's YAML (or JSON)."""

    project: JsonObject | None = Field(
        None,
        examples=[
            {
                "name": "pets",
                "description": "A study of pets",
                "inputs": ["notes.md"],
                "goals": [{"name": "facts", "description": "Summarise the parts"}],
            }
        ],
    )
    text: Text | None = None
    file: Words = Field("project", description="What messages call the text.")
    inputs: dict[Name, Text] = Field(
        default_factory=dict,
        description="The texts of its inputs, by name.",
        examples=[{"notes.md": "# Cats\nCats sleep all day."}],
    )


class Goals(_Brought):
    """Which goals are to be worked on; none named: all that have no result."""

    goals: list[Name] = Field(default_factory=list, max_length=100, examples=[["facts"]])


class WritingWish(_Brought):
    """A document that is to be written of what its project is now."""

    project: Name = Field(examples=["pets"])
    type: DocumentationType = Field(examples=["status_report"])


class Restoring(_Brought):
    """Which version is to hold again."""

    version: Version = Field(strict=True, examples=[1])


class Silence(_Brought):
    """Whose alerts nobody is to be told of, and for how long; `*` stands for any characters."""

    rule: str = Field(pattern=r"^[a-zA-Z0-9_.*-]+$", max_length=500, examples=["errors"])
    seconds: Amount = Field(3600.0, examples=[7200])
    about: Name = Field("*", description="A pattern of what the alert is about.")


class TokenWish(_Brought):
    """A token that is to be made."""

    name: Name = Field(examples=["ci"])
    scopes: list[Name] = Field(default_factory=list, max_length=100, examples=[["task.*"]])
    seconds: Amount | None = Field(None, description="For how long it is good.", le=10**10)
