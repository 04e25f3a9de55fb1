"""`Workflow`: steps with an order, inputs, triggers and outputs; and `WorkflowInstance`, a run of one.

Invariant: a `Workflow` that was made can run. `workflows.rules` found nothing wrong with it, whether it
was made in Python or read from a file (`workflows.definitions`), and both are equal. Its `id` follows
from its name and its `digest` from its content, so that a run can keep what it started with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any, Self
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workflows.edges import aftermath, fallbacks, needs, waits_for
from workflows.error_handling import ErrorHandlingConfig
from workflows.errors import InvalidInputs
from workflows.graph import TaskGraph
from workflows.problem import nearest
from workflows.rules import Draft, faults
from workflows.schemas import mismatch
from workflows.state import StepStatus, TaskState
from workflows.step import WorkflowStep
from workflows.storable import JsonObject, Name, json_fault
from workflows.triggers import WorkflowTrigger

__all__ = ["SkipReason", "StepResult", "Workflow", "WorkflowInstance", "WorkflowStep"]


class Workflow(BaseModel):
    """What is to be done in which order, what starts it, and what becomes of errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="Small letters, digits, _ and -, a letter first.")
    description: str = Field("", description="For people.")
    inputs: dict[str, JsonObject] = Field(
        default_factory=dict,
        description="JSON schema of each input; one without a default must be given.",
    )
    triggers: list[WorkflowTrigger] = Field(default_factory=list, description="What starts it.")
    steps: list[WorkflowStep] = Field(min_length=1, description="What is done.")
    error_handling: ErrorHandlingConfig = Field(default_factory=ErrorHandlingConfig)
    outputs: JsonObject = Field(
        default_factory=dict, description="What a run gives, by name, as expressions."
    )

    @property
    def id(self) -> UUID:
        """The same for every version of the workflow of this name."""
        return uuid5(NAMESPACE_URL, f"ai-agent:workflow:{self.name}")

    @cached_property
    def digest(self) -> str:
        """The hash of the content. Defaults are left out, so that new keys change no old digest."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def by_id(self) -> dict[str, WorkflowStep]:
        """The steps by their ids."""
        return {step.id: step for step in self.steps}

    @cached_property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """What each step waits for; a fallback waits for the step that it stands in for."""
        return needs(self.steps)

    @cached_property
    def waits(self) -> dict[str, tuple[str, ...]]:
        """What must have ended before it is known whether each step runs: its needs and their fallbacks."""
        return waits_for(self.steps)

    @cached_property
    def graph(self) -> TaskGraph[str]:
        """The same as a graph."""
        return TaskGraph(self.needs)

    @cached_property
    def fallbacks(self) -> dict[str, str]:
        """The steps that are fallbacks, each with the step that it stands in for."""
        return fallbacks(self.steps)

    @cached_property
    def aftermath(self) -> frozenset[str]:
        """The steps that run on failure or always, and all that follows them."""
        return aftermath(self.steps)

    def plain(self) -> dict[str, Any]:
        """Return the workflow as JSON has it and files are read; defaults are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def step(self, step_id: str) -> WorkflowStep:
        """Return the step of that id; raises KeyError."""
        if step_id not in self.by_id:
            raise KeyError(f"{self.name} has no step {step_id!r}")
        return self.by_id[step_id]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, which works out for itself what follows from its content."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    def inputs_from(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of a run: what is given, checked, and defaults for the rest.

        Raises `InvalidInputs` with every fault.
        """
        if fault := json_fault(dict(given)):
            raise InvalidInputs(f"workflow {self.name!r} cannot start: the inputs: {fault}")
        wrong = [
            f"there is no input {name!r}: {nearest(name, self.inputs)}"
            for name in given
            if name not in self.inputs
        ]
        inputs = {}
        for name, schema in self.inputs.items():
            if name not in given and "default" not in schema:
                wrong.append(f"the input {name!r} is missing: give it")
                continue
            inputs[name] = given[name] if name in given else schema["default"]
            if why := mismatch(inputs[name], schema):
                wrong.append(f"the input {name!r} does not fit: {why}")
        if wrong:
            text = " ".join("; ".join(wrong).split())
            raise InvalidInputs(f"workflow {self.name!r} cannot start: {text}")
        return inputs

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        draft = Draft(
            self.name, self.steps, self.inputs, dict(enumerate(self.triggers)), self.outputs
        )
        found = [
            f"step {each.step}: {each.text}" if each.step else each.text for each in faults(draft)
        ]
        if found:
            raise ValueError("; ".join(found))
        return self


class SkipReason(StrEnum):
    """Why a step was skipped; what follows it depends on that."""

    CONDITION = "condition"
    """Its `when` was false, or nothing failed that it runs on: what needs it goes on."""
    FAILURE = "failure"
    """Something above failed or was cancelled, or the run was aborted: what needs it is skipped."""
    UNUSED = "unused"
    """A fallback that was not needed."""


class StepResult(BaseModel):
    """How a step stands. `output` is null unless it succeeded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: StepStatus
    output: Any = None
    error: str | None = None
    reason: SkipReason | None = Field(None, description="Why it was skipped.")

    @property
    def is_final(self) -> bool:
        """Whether nothing but a user's retry can change it any more."""
        return self.status in _FINAL

    @model_validator(mode="after")
    def _check_reason(self) -> Self:
        if (self.status is StepStatus.SKIPPED) != (self.reason is not None):
            raise ValueError("a skipped step, and no other, has a reason")
        return self


_FINAL = {StepStatus.SUCCESS, StepStatus.ERROR, StepStatus.CANCELLED, StepStatus.SKIPPED}


class WorkflowInstance(BaseModel):
    """A run of a workflow. It keeps the definition that it started with.

    `context` is what the caller gave, `inputs` are those made of it, and `results` has an entry for
    each step that was begun or decided about.
    """

    model_config = ConfigDict(extra="forbid")

    id: UUID = Field(default_factory=uuid4)
    workflow: Workflow
    context: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    results: dict[str, StepResult] = Field(default_factory=dict)
    status: TaskState = TaskState.PENDING
