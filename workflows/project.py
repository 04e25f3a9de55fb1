"""`Project`: goals that become one plan, with a timeline, results that are kept, and checks of them.

Invariant: a goal is planned again only when what its plan was made of has changed, which its
`digest` tells. A plan's tasks have ids that say where they belong: `goal/1`, and `goal` for its end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import jsonschema
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from workflows.artifact import ProjectArtifact
from workflows.document import DocumentationType
from workflows.durations import Duration
from workflows.errors import InvalidProject
from workflows.estimates import Estimator
from workflows.graph import TaskGraph
from workflows.plan import CallEstimate, Plan
from workflows.storable import Name, Text
from workflows.task import ResourceRequirements
from workflows.timeline import Actual, Timeline

__all__ = [
    "AcceptanceCheck",
    "GoalPlan",
    "GoalStanding",
    "PlannedTask",
    "Project",
    "ProjectGoal",
    "ProjectPlan",
    "ProjectResources",
    "ProjectSpec",
    "Slug",
]

#: What an agent is taken to need until it has been measured.
UNMEASURED = CallEstimate(prompt=500, generated=100, seconds=5.0)


def _slug(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) or len(name) > 100:
        raise ValueError("write small letters, digits and dashes, as in market-study")
    return name


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"it is no regular expression: {error}") from error
    return text


Slug = Annotated[str, AfterValidator(_slug)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AcceptanceCheck(_Strict):
    """What a goal's result must be: exactly one of these. `person` is a question for somebody."""

    contains: Text | None = None
    matches: Annotated[str, AfterValidator(_pattern)] | None = None
    json_schema: dict[str, Any] | None = None
    min_words: Annotated[int, Field(ge=1)] | None = None
    max_words: Annotated[int, Field(ge=1)] | None = None
    person: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> AcceptanceCheck:
        if len(self.model_fields_set) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"give exactly one of {kinds}")
        return self

    def __str__(self) -> str:
        (name,) = self.model_fields_set
        return f"{name} {json.dumps(getattr(self, name), ensure_ascii=False)}"

    def holds(self, result: Any) -> bool | None:
        """Tell whether a result is so; None where a person has to say."""
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        if self.contains is not None:
            return self.contains.casefold() in text.casefold()
        if self.matches is not None:
            return re.search(self.matches, text) is not None
        if self.json_schema is not None:
            return jsonschema.Draft202012Validator(self.json_schema).is_valid(result)
        if self.min_words is not None:
            return len(text.split()) >= self.min_words
        if self.max_words is not None:
            return len(text.split()) <= self.max_words
        return None


class ProjectGoal(_Strict):
    """What is to be reached. Its result is what the last steps of its plan give.

    It is given the results of the goals that it needs, and those of the project's `inputs` that it
    names; where it names none and needs nothing, all of them.
    """

    name: Slug
    description: Text
    acceptance: list[AcceptanceCheck] = Field(default_factory=list)
    needs: list[Slug] = Field(default_factory=list)
    inputs: list[Name] = Field(default_factory=list)
    deadline: AwareDatetime | None = None
    estimate: Duration | None = Field(None, description="Of its whole work, where somebody knows.")
    output: dict[str, Any] | None = Field(None, description="JSON schema of its result.")


class ProjectResources(_Strict):
    """What a project has: agents (none named: all there are), and what it may use up."""

    agents: list[Name] = Field(default_factory=list)
    budget: ResourceRequirements = Field(default_factory=ResourceRequirements)


class ProjectSpec(_Strict):
    """What is handed in: a project in words. `inputs` are files, named by themselves."""

    name: Slug
    description: Text
    goals: list[ProjectGoal] = Field(min_length=1, max_length=100)
    resources: ProjectResources = Field(default_factory=ProjectResources)
    inputs: list[Name] = Field(default_factory=list)
    deadline: AwareDatetime | None = None
    documents: list[DocumentationType] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits_together(self) -> ProjectSpec:
        names = [goal.name for goal in self.goals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two goals are called {twice[0]}: rename one")
        for goal in self.goals:
            for other in set(goal.inputs) - set(self.inputs):
                raise ValueError(
                    f"goal {goal.name} takes the input {other}, which the project does not have: "
                    "add it to the inputs of the project"
                )
        self.order()
        return self

    def order(self) -> tuple[str, ...]:
        """Return the names of the goals, each after those it needs. Raises `CycleError`."""
        return TaskGraph({goal.name: goal.needs for goal in self.goals}).order()

    def inputs_of(self, goal: ProjectGoal) -> list[str]:
        """Return the names of the inputs that a goal is given."""
        return goal.inputs or ([] if goal.needs else self.inputs)

    def goal(self, name: str) -> ProjectGoal:
        """Return a goal. Raises `InvalidProject`."""
        for goal in self.goals:
            if goal.name == name:
                return goal
        known = ", ".join(goal.name for goal in self.goals)
        raise InvalidProject(f"project {self.name} has no goal {name!r}: it has {known}")

    def digest(self, goal: ProjectGoal, inputs: Mapping[str, str]) -> str:
        """Return what tells whether a goal must be planned again.

        Args:
            goal: The goal.
            inputs: The sha256 of each input's text.
        """
        used = sorted(self.inputs_of(goal))
        said = {
            "project": self.description,
            "goal": goal.description,
            "needs": sorted(goal.needs),
            "agents": sorted(self.resources.agents),
            "inputs": [[name, inputs[name]] for name in used],
            "output": goal.output,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class GoalPlan(_Strict):
    """The plan of one goal, and the digest of what it was made of."""

    digest: str
    plan: Plan


class ProjectPlan(_Strict):
    """Goals, each with its plan; together one graph of tasks, in which a goal's end is a milestone."""

    goals: dict[str, GoalPlan]
    needs: dict[str, list[str]]
    estimates: dict[str, float] = Field(
        default_factory=dict, description="Of whole goals, seconds."
    )

    def tasks(self) -> list[PlannedTask]:
        """Return all tasks, each after those it needs.

        Raises:
            CycleError: Goals or steps wait for each other; it names them.
            UnknownDependency: A goal needs one that is not in the plan.
        """
        found = [task for goal in self.goals for task in self._of_goal(goal)]
        order = TaskGraph({task.id: task.needs for task in found}).order()
        known = {task.id: task for task in found}
        return [known[task_id] for task_id in order]

    def _of_goal(self, goal: str) -> list[PlannedTask]:
        steps = self.goals[goal].plan
        graph = steps.graph()
        before = self.needs.get(goal, [])
        found = [
            PlannedTask(
                id=f"{goal}/{number}",
                goal=goal,
                title=step.title,
                agent=step.agent,
                needs=[f"{goal}/{each}" for each in step.needs] or before,
                size=len(step.description),
            )
            for number, step in enumerate(steps.steps, start=1)
        ]
        ends = [f"{goal}/{number}" for number in graph.sinks]
        return [*found, PlannedTask(id=goal, goal=goal, title=f"{goal} is reached", needs=ends)]

    def timeline(
        self,
        *,
        begins_at: datetime,
        said: Mapping[str, CallEstimate] | None = None,
        estimator: Estimator | None = None,
        now: datetime | None = None,
        actuals: Mapping[str, Actual] | None = None,
        deadlines: Mapping[str, datetime] | None = None,
    ) -> Timeline:
        """Return the plan in time.

        Args:
            begins_at: When it began, or would.
            said: What one step of each agent takes, as far as is known.
            estimator: Corrects that by what was measured.
            now: The present.
            actuals: What has become of tasks, by their ids in the plan.
            deadlines: Of goals by name, and of the project under the empty name.
        """
        corrected = estimator or Estimator()
        tasks = self.tasks()
        rows = [
            (
                task.id,
                task.title,
                task.goal,
                task.needs,
                corrected.estimate(
                    self._seconds(task, said or {}), task.agent or "", size=task.size
                ),
            )
            for task in tasks
        ]
        return Timeline.of(rows, begins_at=begins_at, now=now, actuals=actuals, deadlines=deadlines)

    def _seconds(self, task: PlannedTask, said: Mapping[str, CallEstimate]) -> float:
        if task.agent is None:
            return 0.0
        steps = self.goals[task.goal].plan.steps
        if task.goal in self.estimates:
            return self.estimates[task.goal] / len(steps)
        return said.get(task.agent, UNMEASURED).seconds


class PlannedTask(_Strict):
    """A task of a plan. `size` are the characters of what it is asked; a milestone has no agent."""

    id: str
    goal: str
    title: str
    agent: str | None = None
    needs: list[str] = Field(default_factory=list)
    size: int = 0


class GoalStanding(_Strict):
    """How a goal stands: what its checks said of its result, and who accepted what people must say."""

    state: Literal["open", "running", "reached", "failed", "to-accept"] = "open"
    checks: dict[str, bool | None] = Field(default_factory=dict)
    accepted_by: str | None = None
    run: UUID | None = None
    reached_at: AwareDatetime | None = None


class Project(_Strict):
    """A project as it stands. `revision` rises with each change of its spec or plan."""

    id: UUID = Field(default_factory=uuid4)
    name: Slug
    description: Text
    goals: list[ProjectGoal]
    resources: ProjectResources = Field(default_factory=ProjectResources)
    spec: ProjectSpec
    plan: ProjectPlan | None = None
    timeline: Timeline | None = None
    artifacts: Sequence[ProjectArtifact] = ()
    standings: dict[str, GoalStanding] = Field(default_factory=dict)
    runs: Sequence[UUID] = ()
    revision: int = 1
    created_at: AwareDatetime | None = None
