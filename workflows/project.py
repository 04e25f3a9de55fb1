"""`Project`: goals that become one plan, with a timeline, results that are kept, and checks of them.

Invariant: a goal is planned again only when what its plan was made of has changed, which its `digest`
tells; its result holds until it, or a goal whose result it was given, is worked on again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from workflows.acceptance import AcceptanceCheck
from workflows.artifact import ProjectArtifact
from workflows.document import DocumentationType
from workflows.durations import Duration
from workflows.errors import InvalidDocument, InvalidProject
from workflows.graph import TaskGraph
from workflows.project_plan import ProjectPlan
from workflows.schemas import schema_fault
from workflows.storable import Amount, Count, FilledText, JsonObject, Moment, Name
from workflows.timeline import Timeline

__all__ = [
    "GoalStanding",
    "Project",
    "ProjectAlerts",
    "ProjectBudget",
    "ProjectGoal",
    "ProjectResources",
    "ProjectSpec",
    "Slug",
]


def _slug(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) or len(name) > 100:
        raise ValueError("write small letters, digits and dashes, as in market-study")
    return name


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    if fault := schema_fault(schema):
        raise ValueError(fault)
    return schema


Slug = Annotated[str, AfterValidator(_slug)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectGoal(_Strict):
    """What is to be reached. Its result is what the last steps of its plan give.

    It is given the results of the goals that it needs, and those of the project's `inputs` that it
    names; where it names none and needs nothing, all of them.
    """

    name: Slug
    description: FilledText
    acceptance: list[AcceptanceCheck] = Field(default_factory=list)
    needs: list[Slug] = Field(default_factory=list)
    inputs: list[Name] = Field(default_factory=list)
    deadline: Moment | None = None
    estimate: Duration | None = Field(None, description="Of its whole work, where somebody knows.")
    output: Annotated[JsonObject, AfterValidator(_schema)] | None = Field(
        None, description="JSON schema of its result."
    )


class ProjectBudget(_Strict):
    """What all work on a project may use up; None is no limit."""

    tokens: Count | None = None
    model_calls: Count | None = None
    seconds: Amount | None = None


class ProjectResources(_Strict):
    """What a project has: agents (none named: all there are), and what it may use up."""

    agents: list[Name] = Field(default_factory=list)
    budget: ProjectBudget = Field(default_factory=ProjectBudget)


class ProjectAlerts(_Strict):
    """From where on somebody is told; None is never.

    `risk` is the share of likely courses that miss a deadline, `budget` the share of a limit that is
    used up, `failed_tasks` a number. `notify` are the notifiers of alerts.yaml that are told.
    """

    risk: Annotated[float, Field(gt=0, lt=1)] = 0.1
    budget: Annotated[float, Field(gt=0, le=1)] | None = 0.8
    failed_tasks: Annotated[int, Field(ge=1)] | None = 1
    notify: list[Name] = Field(default=["log"])


class ProjectSpec(_Strict):
    """What is handed in: a project in words. `inputs` are the names of texts that are given with it."""

    name: Slug
    description: FilledText
    goals: list[ProjectGoal] = Field(min_length=1, max_length=100)
    resources: ProjectResources = Field(default_factory=ProjectResources)
    inputs: list[Name] = Field(default_factory=list)
    deadline: Moment | None = None
    documents: list[DocumentationType] = Field(default_factory=list)
    alerts: ProjectAlerts = Field(default_factory=ProjectAlerts)

    @model_validator(mode="after")
    def _fits_together(self) -> ProjectSpec:
        names = [*(goal.name for goal in self.goals), *self.inputs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two goals or inputs are called {twice[0]}: rename one")
        for goal in self.goals:
            for other in sorted(set(goal.inputs) - set(self.inputs)):
                raise ValueError(
                    f"goal {goal.name} takes the input {other}, which the project does not have: "
                    "add it to the inputs of the project"
                )
        self.graph()
        return self

    def graph(self) -> TaskGraph[str]:
        """Return which goal needs which. Raises `CycleError`, `UnknownDependency`."""
        return TaskGraph({goal.name: goal.needs for goal in self.goals})

    def order(self) -> tuple[str, ...]:
        """Return the names of the goals, each after those it needs."""
        return self.graph().order()

    def following(self, goals: Collection[str]) -> set[str]:
        """Return the goals whose results are made of those of the given ones, directly or not."""
        graph = self.graph()
        found: set[str] = set()
        for goal in graph.order():
            if any(needed in found or needed in goals for needed in graph.dependencies(goal)):
                found.add(goal)
        return found

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

    def own_documents(self) -> list[DocumentationType]:
        """Return the types of the documents that it lists as its own. Raises `InvalidDocument`."""
        if not self.documents:
            raise InvalidDocument(
                f"project {self.name} lists no documents: say which one by --type, or list types under "
                "`documents` in its file"
            )
        return list(dict.fromkeys(self.documents))

    def digest(self, goal: ProjectGoal, inputs: Mapping[str, str]) -> str:
        """Return what tells whether a goal must be planned again.

        Args:
            goal: The goal.
            inputs: The sha256 of each input's text.
        """
        said = {
            "project": self.description,
            "goal": goal.description,
            "needs": sorted(goal.needs),
            "agents": sorted(self.resources.agents),
            "inputs": [[name, inputs[name]] for name in sorted(self.inputs_of(goal))],
            "output": goal.output,
            "estimate": goal.estimate,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class GoalStanding(_Strict):
    """How a goal stands: what its checks said of its result, and who accepted what people must say."""

    state: Literal["open", "running", "reached", "failed", "to-accept"] = "open"
    checks: dict[str, bool | None] = Field(default_factory=dict)
    accepted_by: str | None = None
    run: UUID | None = None
    reached_at: AwareDatetime | None = None


class Project(ProjectSpec):
    """A project as it stands. `revision` rises with each change of its spec or plan."""

    id: UUID = Field(default_factory=uuid4)
    plan: ProjectPlan | None = None
    timeline: Timeline | None = None
    artifacts: list[ProjectArtifact] = Field(default_factory=list)
    standings: dict[str, GoalStanding] = Field(default_factory=dict)
    runs: list[UUID] = Field(default_factory=list)
    revision: int = 1
    created_at: AwareDatetime | None = None

    @property
    def spec(self) -> ProjectSpec:
        """What was handed in."""
        return ProjectSpec.model_validate({name: getattr(self, name) for name in _SPECIFIED})

    def as_json(self) -> dict[str, Any]:
        """Return the project's public document: goals with how they stand, the plan with its tasks."""
        document = self.model_dump(mode="json", exclude={"standings"})
        for goal in document["goals"]:
            goal.update(self.standing(goal["name"]).model_dump(mode="json"))
        if self.plan is not None:
            document["plan"]["tasks"] = [task.model_dump(mode="json") for task in self.plan.tasks()]
        return document

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Project:
        """Return the project that a public document tells of."""
        goals = document["goals"]
        plan = document["plan"]
        return cls.model_validate(
            {
                **{name: document[name] for name in cls.model_fields if name in document},
                "goals": [_part(goal, ProjectGoal) for goal in goals],
                "standings": {goal["name"]: _part(goal, GoalStanding) for goal in goals},
                "plan": None if plan is None else _part(plan, ProjectPlan),
            }
        )

    def standing(self, goal: str) -> GoalStanding:
        """Return how a goal stands."""
        return self.standings.get(goal, GoalStanding())


def _part(document: Mapping[str, Any], kind: type[BaseModel]) -> dict[str, Any]:
    return {name: document[name] for name in kind.model_fields}


_SPECIFIED = tuple(ProjectSpec.model_fields)
