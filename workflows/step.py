"""`WorkflowStep`: one step of a workflow, with everything that can be said about it.

Texts in `prompt`, `plan`, `args`, `with`, `when`, `foreach`, `until`, a question and a compensation
are expressions or templates (`workflows.conditions`); ids and names are not.

Invariant: fields are well formed here; whether they make sense together (`workflows.step_rules`) is
checked when the step becomes part of a `Workflow`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workflows.durations import Duration
from workflows.error_handling import Fallback, OnError
from workflows.storable import Count, FilledText, JsonList, JsonObject, Name
from workflows.task import Capability, RetryPolicy

__all__ = ["MAX_ROUNDS", "Approval", "Compensation", "Loop", "Work", "WorkflowStep"]

MAX_ROUNDS = 1000

_MODEL = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Work(BaseModel):
    """Who does what: an agent with a prompt, a Celery task with arguments, or a workflow."""

    model_config = _MODEL

    agent: Name | None = Field(None, description="Name or type of the agent.")
    capabilities: list[Capability] = Field(
        default_factory=list, description="What the agent must be able to do, instead of a name."
    )
    prompt: FilledText | None = Field(None, description="What the agent is asked.")
    task: Name | None = Field(None, description="Wire name of a registered Celery task.")
    args: JsonList = Field(default_factory=list, description="Arguments of the task, in order.")
    with_: JsonObject = Field(
        default_factory=dict,
        alias="with",
        description="Arguments of the task or inputs of the workflow by name; for an agent or a "
        "plan: texts to work on, by name.",
    )
    workflow: Name | None = Field(None, description="Name of a workflow to run.")
    tools: list[FilledText] = Field(
        default_factory=list,
        description="What the agent may use, of the tools that it has; with plan, all its agents.",
    )
    network: bool = Field(False, description="Whether tools that need the network may be used.")

    @property
    def kinds(self) -> list[str]:
        """The kinds of work that are named; a sound step has one."""
        asked = self.agent or self.capabilities or self.prompt
        named = {"agent": asked, "task": self.task, "workflow": self.workflow}
        return [kind for kind, value in named.items() if value]


class Compensation(Work):
    """What undoes a step. It sees the step's own output too."""

    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    timeout: Duration | None = Field(None, description="For one try.")


class Approval(BaseModel):
    """A question to a person. The output of the step is `{approved, answer, by}`.

    When the time runs out and there is a `default`, that is the answer and the step is approved.
    Otherwise `on_timeout` says whether the step is rejected, approved without an answer, or fails.
    """

    model_config = _MODEL

    question: FilledText = Field(description="What the person is asked.")
    options: list[FilledText] = Field(
        default_factory=list, description="The answers to choose from."
    )
    answer: JsonObject | None = Field(None, description="JSON schema of a free answer.")
    timeout: Duration | None = Field(None, description="How long to wait; for ever if left out.")
    on_timeout: Literal["reject", "approve", "fail"] | None = Field(
        None, description="What happens when nobody answered in time: reject unless given."
    )
    default: Any = Field(None, description="The answer when nobody answered in time.")

    @property
    def answer_schema(self) -> dict[str, Any]:
        """The JSON schema of an answer; empty where anything may be answered."""
        return {"enum": self.options} if self.options else self.answer or {}

    @property
    def at_timeout(self) -> Literal["reject", "approve", "fail"]:
        """What happens when nobody answered in time."""
        return self.on_timeout or ("reject" if self.default is None else "approve")


class Loop(BaseModel):
    """Do the step again until a condition holds, at most `max` times; the last output stands."""

    model_config = _MODEL

    until: FilledText | bool = Field(description="Asked after each round.")
    max: int = Field(strict=True, ge=1, le=MAX_ROUNDS, description="The most rounds.")


class WorkflowStep(Work):
    """One step. Without `needs` it follows the step above it."""

    id: Name = Field(description="Small letters, digits, _ and -, a letter first.")
    description: str = Field("", description="For people.")
    plan: FilledText | None = Field(None, description="A job that the planner breaks into tasks.")
    approval: Approval | None = Field(None, description="Wait for a person's answer.")
    needs: list[Name] | None = Field(
        None, description="Steps that come first; [] starts at once; left out: the step above."
    )
    run_on: Literal["success", "failure", "always"] = Field(
        "success", description="How what it needs must have ended."
    )
    when: FilledText | bool = Field(
        True,
        description="The step is skipped unless this holds. Where it names `item`, it is asked for "
        "each item, and items that it refuses have the output null.",
    )
    foreach: FilledText | JsonList | None = Field(
        None, description="Do the step for each item; its output is the list of their outputs."
    )
    max_parallel: Count | None = Field(None, description="The most items at a time.")
    loop: Loop | None = Field(None, description="Do the step again until a condition holds.")
    output: JsonObject | None = Field(
        None, description="JSON schema of the answer; with foreach, of each item's answer."
    )
    retry: RetryPolicy = Field(default_factory=RetryPolicy, description="Tries after an error.")
    timeout: Duration | None = Field(None, description="For one try, and for each item.")
    on_error: OnError = Field(
        "abort", description="After the last try: abort, continue, or {fallback: STEP}."
    )
    compensate: Compensation | None = Field(
        None, description="Undoes the step when the run is compensated."
    )

    @property
    def kinds(self) -> list[str]:
        """The kinds of work that are named; a sound step has one."""
        more = {"plan": self.plan, "approval": self.approval}
        return [*super().kinds, *(kind for kind, value in more.items() if value is not None)]

    @property
    def kind(self) -> str:
        """What the step does: `agent`, `task`, `workflow`, `plan` or `approval`."""
        return self.kinds[0]

    @property
    def fallback(self) -> str | None:
        """The id of the step that stands in when this one failed."""
        return self.on_error.fallback if isinstance(self.on_error, Fallback) else None
