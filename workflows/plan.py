"""`Plan`: how a planner breaks a job into steps, and what becomes of the steps.

Invariant: the same plan for the same parent gives the same subtasks, ids included, so that making
them again after a crash makes nothing new; and so does its beginning, since the id of a step follows
from what it says and what it needs. A step never gets more than its parent has.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

from workflows.errors import InvalidPlan
from workflows.graph import TaskGraph
from workflows.storable import Text
from workflows.task import Capability, Task, TaskInput

__all__ = [
    "MAX_DEPTH",
    "MAX_STEPS",
    "UNMEASURED",
    "CallEstimate",
    "Plan",
    "PlanStep",
    "PlanTokens",
    "Price",
]

MAX_STEPS = 20
MAX_DEPTH = 3


@dataclass(frozen=True)
class CallEstimate:
    """What one step of an agent is expected to take."""

    prompt: int
    generated: int
    seconds: float
    calls: int = 1


#: What a step is taken to need until its agent has been measured.
UNMEASURED = CallEstimate(prompt=500, generated=100, seconds=5.0)


@dataclass(frozen=True)
class Price:
    """What a whole plan is expected to take.

    `seconds` is the work of all steps one after another; `critical_seconds` is the longest way
    through the plan, which no number of workers can shorten, and `critical_steps` counts it.
    """

    calls: int
    prompt: int
    generated: int
    seconds: float
    critical_seconds: float
    critical_steps: int

    @property
    def tokens(self) -> int:
        """Prompt and generated tokens together."""
        return self.prompt + self.generated


class PlanTokens(BaseModel):
    """The tokens that making the plan took, all tries together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: int = Field(0, ge=0)
    generated: int = Field(0, ge=0)


class PlanStep(BaseModel):
    """One step. `needs` are numbers of earlier steps, counted from 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    description: Text
    agent: Text
    needs: list[int] = Field(default_factory=list)
    input_names: list[str] = Field(default_factory=list)
    capabilities: list[Capability] = Field(default_factory=list)


class Plan(BaseModel):
    """The steps of a job, who made them and at what cost. `check` it before anything else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: Text
    steps: list[PlanStep]
    source: Literal["model", "fallback", "given"]
    version: Annotated[int, Field(ge=1)] = 1
    tries: Annotated[int, Field(ge=0)] = 1
    tokens: PlanTokens = Field(default_factory=PlanTokens)
    model: str | None = None

    def check(
        self,
        agents: Collection[str],
        *,
        inputs: Collection[str] | None = None,
        depth: int = 1,
    ) -> None:
        """Raise `InvalidPlan` with the first fault, in words a planner can act on.

        `agents` are the names that a step may give, `inputs` the names of the parent's inputs (None
        leaves that check out), and `depth` how many plans deep this one stands, itself included.
        """
        if depth > MAX_DEPTH:
            raise InvalidPlan(
                f"this would be a plan {depth} plans deep and at most {MAX_DEPTH} are allowed: "
                "let an agent do the step instead"
            )
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise InvalidPlan(f"the plan has {len(self.steps)} steps: give 1 to {MAX_STEPS}")
        self.graph()
        for number, step in enumerate(self.steps, start=1):
            _check_agent(number, step, agents)
            if inputs is not None:
                _check_inputs(number, step, inputs)

    def graph(self) -> TaskGraph[int]:
        """Return the graph of the step numbers, counted from 1; raises `InvalidPlan`."""
        numbered = dict(enumerate(self.steps, start=1))
        for number, step in numbered.items():
            _check_step(number, step)
        return TaskGraph({number: step.needs for number, step in numbered.items()})

    def tasks(self, parent: Task) -> list[Task]:
        """Return the subtasks of `parent`, in the order of the steps.

        A subtask works under its parent's priority, deadline, limits and rights; the only one that
        none needs has its parent's `output` too, since its result becomes the parent's. Raises
        `InvalidPlan` when a step needs a later step or an input that the parent does not have.
        """
        graph = self.graph()
        ids = self.ids(parent.id)
        texts = {item.name: item for item in parent.inputs}
        tasks = {
            number: self._task(number, parent, ids, graph.dependencies(number), texts)
            for number in graph
        }
        if len(graph.sinks) == 1:
            tasks[graph.sinks[0]].output = parent.output
        return list(tasks.values())

    def ids(self, parent_id: UUID) -> dict[int, UUID]:
        """Return what the subtasks of a parent are called, by the numbers of their steps."""
        ids: dict[int, UUID] = {}
        for number, step in enumerate(self.steps, start=1):
            said = step.model_dump(mode="json", exclude={"needs"})
            needs = [str(ids[needed]) for needed in step.needs]
            told = json.dumps([self.version, number, said, needs], sort_keys=True)
            ids[number] = uuid5(parent_id, told)
        return ids

    def _task(
        self,
        number: int,
        parent: Task,
        ids: Mapping[int, UUID],
        needs: Collection[int],
        texts: Mapping[str, TaskInput],
    ) -> Task:
        step = self.steps[number - 1]
        _check_inputs(number, step, texts)
        return Task(
            id=ids[number],
            parent_task=parent.id,
            description=step.description,
            agent=step.agent,
            required_capabilities=set(step.capabilities),
            dependencies=[ids[needed] for needed in needs],
            inputs=[texts[name] for name in dict.fromkeys(step.input_names)],
            metadata={"title": step.title, "step": number},
            priority=parent.priority,
            deadline=parent.deadline,
            resource_requirements=parent.resource_requirements,
            security_requirements=parent.security_requirements,
            retry=parent.retry,
            timeout=parent.timeout,
        )

    def price(self, estimates: Mapping[str, CallEstimate], *, otherwise: CallEstimate) -> Price:
        """Return what the plan is expected to take, from one estimate for a step of each agent.

        Agents without an estimate are taken to need what `otherwise` says.
        """
        each = {
            number: estimates.get(step.agent, otherwise)
            for number, step in enumerate(self.steps, start=1)
        }
        path, critical = self.graph().critical_path({n: one.seconds for n, one in each.items()})
        return Price(
            calls=sum(one.calls for one in each.values()),
            prompt=sum(one.prompt for one in each.values()),
            generated=sum(one.generated for one in each.values()),
            seconds=sum(one.seconds for one in each.values()),
            critical_seconds=critical,
            critical_steps=len(path),
        )


def _check_step(number: int, step: PlanStep) -> None:
    if not step.description.strip():
        raise InvalidPlan(f"step {number} has no description: say what is to be done")
    for needed in step.needs:
        if not 1 <= needed < number:
            earlier = f"a number from 1 to {number - 1}" if number > 1 else "nothing"
            raise InvalidPlan(f"step {number} needs step {needed}: let it need {earlier}")


def _check_agent(number: int, step: PlanStep, agents: Collection[str]) -> None:
    if step.agent not in agents:
        known = ", ".join(sorted(agents)) or "none at all"
        raise InvalidPlan(f"step {number} names the agent {step.agent!r}: use one of {known}")


def _check_inputs(number: int, step: PlanStep, inputs: Collection[str]) -> None:
    for name in step.input_names:
        if name not in inputs:
            known = ", ".join(inputs) or "none at all"
            raise InvalidPlan(f"step {number} asks for the input {name!r}: there is {known}")
