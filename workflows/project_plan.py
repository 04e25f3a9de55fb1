"""`ProjectPlan`: the plans of all goals as one graph of tasks, with what each is expected to take.

Invariant: a plan's tasks have ids that say where they belong: `goal/1`, and `goal` for its end, the
milestone. What was expected of a step when it was planned stays with it, so that it can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from workflows.estimates import Estimate, Estimator
from workflows.graph import TaskGraph
from workflows.plan import Plan
from workflows.timeline import Actual, Timeline

__all__ = ["GoalPlan", "OnGoal", "PlannedTask", "ProjectPlan", "StepEstimate"]


OnGoal = Callable[[str, Plan], None]
"""Is told of each goal that has just been planned."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepEstimate(_Strict):
    """What a step was expected to take when it was planned.

    `size` are the tokens that its agent is to read, about; `said` are the seconds that somebody who
    knows gave for it, and `spread` is as in `Estimate`.
    """

    size: int = 0
    said: float | None = None
    seconds: float
    spread: float


class GoalPlan(_Strict):
    """The plan of one goal, what its steps are expected to take, and the digest of what it was made of."""

    digest: str
    plan: Plan
    estimates: list[StepEstimate]


class PlannedTask(_Strict):
    """A task of a plan; a milestone has no agent and takes no time."""

    id: str
    goal: str
    title: str
    agent: str | None = None
    needs: list[str] = Field(default_factory=list)
    estimate: StepEstimate = StepEstimate(seconds=0.0, spread=0.0)


class ProjectPlan(_Strict):
    """Goals, each with its plan, and what they need of each other.

    `inputs` are the artifacts that the inputs of the project were, by name, when it was made.
    """

    goals: dict[str, GoalPlan]
    needs: dict[str, list[str]]
    inputs: dict[str, UUID] = Field(default_factory=dict)
    made_at: AwareDatetime

    @property
    def timeline(self) -> Timeline:
        """The plan in time, as it was expected to go when it was made."""
        return self.timeline_at(self.made_at)

    def tasks(self) -> list[PlannedTask]:
        """Return all tasks, each after those it needs.

        Raises:
            CycleError: Goals or steps wait for each other; it names them.
            UnknownDependency: A goal needs one that is not in the plan.
        """
        found = {task.id: task for goal in self.goals for task in self._of_goal(goal)}
        order = TaskGraph({task.id: task.needs for task in found.values()}).order()
        return [found[task_id] for task_id in order]

    def timeline_at(
        self,
        begins_at: datetime,
        *,
        now: datetime | None = None,
        estimator: Estimator | None = None,
        actuals: Mapping[str, Actual] | None = None,
        deadlines: Mapping[str, datetime] | None = None,
        risk: float = 0.1,
    ) -> Timeline:
        """Return the plan in time, with what is known by now.

        Args:
            begins_at: When the work began, or would.
            now: The present; by default the beginning.
            estimator: Estimates each step anew; by default it stands as it was planned.
            actuals: What has become of tasks, by their ids in the plan.
            deadlines: Of goals by name, and of the project under the empty name.
            risk: The share of likely courses that may miss a deadline before it counts as at risk.
        """
        tasks = self.tasks()
        return Timeline.of(
            [
                (task.id, task.title, task.goal, task.needs, _estimate(task, estimator))
                for task in tasks
            ],
            begins_at=begins_at,
            now=now,
            planned={task.id: task.estimate.seconds for task in tasks},
            actuals=actuals,
            deadlines=deadlines,
            risk=risk,
        )

    def _of_goal(self, goal: str) -> list[PlannedTask]:
        made = self.goals[goal]
        before = self.needs.get(goal, [])
        found = [
            PlannedTask(
                id=f"{goal}/{number}",
                goal=goal,
                title=step.title,
                agent=step.agent,
                needs=[f"{goal}/{each}" for each in step.needs] or before,
                estimate=estimate,
            )
            for number, (step, estimate) in enumerate(
                zip(made.plan.steps, made.estimates, strict=True), start=1
            )
        ]
        ends = [f"{goal}/{number}" for number in made.plan.graph().sinks]
        return [*found, PlannedTask(id=goal, goal=goal, title=f"{goal} is reached", needs=ends)]


def _estimate(task: PlannedTask, estimator: Estimator | None) -> Estimate:
    known = task.estimate
    if estimator is None or task.agent is None:
        return Estimate(known.seconds, known.spread)
    return estimator.estimate(task.agent, known.size, known.said)
