"""`Timeline`: when the tasks of a plan begin and end, as planned, as they went, and as it is likely.

The arithmetic is the critical path method: a forward pass gives the earliest times, a backward pass
the latest that delay nothing, and their difference is the slack. What has begun counts with the
times that it really took, so the same passes tell what was planned and what is to be expected now.
The likely finish comes of many draws: durations are taken to be log-normal about their estimates.

Invariant: an item begins no earlier than all that it needs has ended, and the critical path is as
long as the timeline.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from workflows.estimates import Estimate
from workflows.graph import TaskGraph

__all__ = ["DRAWS", "Actual", "Likely", "Timeline", "TimelineItem"]

#: How many possible courses are drawn for the likely finish; fewer where there are many tasks, of which
#: no more than `_WORK` are drawn in all.
DRAWS = 2000
_WORK = 400_000
_FEWEST = 200

Standing = Literal["planned", "running", "done", "failed"]


class Actual(BaseModel):
    """What became of a task so far."""

    model_config = ConfigDict(frozen=True)

    standing: Standing
    started_at: datetime | None = None
    finished_at: datetime | None = None


class TimelineItem(BaseModel):
    """A task on the timeline. All times are seconds after its beginning.

    `start` and `finish` are the earliest, `latest_start` and `latest_finish` those that delay
    nothing, `slack` is between them. `planned_finish` is what the estimates alone said.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    goal: str
    needs: list[str] = Field(default_factory=list)
    estimate: float = Field(ge=0)
    standing: Standing = "planned"
    start: float
    finish: float
    latest_start: float
    latest_finish: float
    planned_start: float
    planned_finish: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def slack(self) -> float:
        """By how many seconds it may be late and delay nothing."""
        return self.latest_start - self.start

    @computed_field  # type: ignore[prop-decorator]
    @property
    def critical(self) -> bool:
        """Whether it has no slack (to a millionth of a second)."""
        return self.slack < 1e-6


class Likely(BaseModel):
    """What the draws gave: the seconds by which half of them, and nine of ten, were done."""

    model_config = ConfigDict(frozen=True)

    p50: float
    p90: float


class Timeline(BaseModel):
    """The tasks of a plan in time.

    `begins_at` is when it began, or would. `milestones` are the likely finishes of the goals, and
    `late` names those whose deadline is missed in too many of the draws, with the share of draws that
    miss it; the deadline of everything stands there under the empty name.
    """

    model_config = ConfigDict(frozen=True)

    items: list[TimelineItem]
    begins_at: datetime
    now: float = 0.0
    duration: float
    planned_duration: float
    critical_path: list[str]
    likely: Likely
    milestones: dict[str, Likely] = Field(default_factory=dict)
    deadlines: dict[str, datetime] = Field(default_factory=dict)
    late: dict[str, float] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def finishes_at(self) -> datetime:
        """When everything is expected to be done."""
        return self.moment(self.duration)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def at_risk(self) -> bool:
        """Whether some deadline is likely to be missed."""
        return bool(self.late)

    def moment(self, seconds: float) -> datetime:
        """Return the moment that is so many seconds after the beginning."""
        return self.begins_at + timedelta(seconds=seconds)

    @classmethod
    def of(
        cls,
        tasks: Sequence[tuple[str, str, str, Sequence[str], Estimate]],
        *,
        begins_at: datetime,
        now: datetime | None = None,
        planned: Mapping[str, float] | None = None,
        actuals: Mapping[str, Actual] | None = None,
        deadlines: Mapping[str, datetime] | None = None,
        risk: float = 0.1,
        draws: int | None = None,
    ) -> Timeline:
        """Return the timeline of tasks, given as (id, title, goal, needs, estimate).

        Args:
            tasks: What is to be done.
            begins_at: When it began, or would.
            now: The present; by default the beginning.
            planned: The seconds that each was planned to take; by default what is estimated now.
            actuals: What has become of the tasks that have begun.
            deadlines: Of goals by their names, and of everything under the empty name.
            risk: The share of courses that may miss a deadline before it counts as late.
            draws: How many possible courses to draw; by default as many as `DRAWS` says.

        Raises:
            CycleError: Tasks need each other; it names them.
            UnknownDependency: One needs what is no task.
        """
        graph = TaskGraph({task_id: list(needs) for task_id, _, _, needs, _ in tasks})
        estimates = {task[0]: task[4] for task in tasks}
        clock = _Clock(begins_at, now or begins_at, actuals or {})
        before = planned or {key: each.seconds for key, each in estimates.items()}
        baseline = _forward(graph, {key: (None, seconds) for key, seconds in before.items()})
        expected = clock.spans(estimates)
        earliest = _forward(graph, expected, not_before=clock.present)
        duration = max((finish for _, finish in earliest.values()), default=0.0)
        latest = _backward(graph, earliest, duration)
        items = [
            TimelineItem(
                id=task_id,
                title=title,
                goal=goal,
                needs=list(graph.dependencies(task_id)),
                estimate=estimate.seconds,
                standing=clock.standing(task_id),
                start=earliest[task_id][0],
                finish=earliest[task_id][1],
                latest_start=latest[task_id][0],
                latest_finish=latest[task_id][1],
                planned_start=baseline[task_id][0],
                planned_finish=baseline[task_id][1],
            )
            for task_id, title, goal, _, estimate in tasks
        ]
        goals = {task_id: goal for task_id, _, goal, _, _ in tasks}
        many = draws or max(_FEWEST, min(DRAWS, _WORK // max(1, len(tasks))))
        finishes = _draw(graph, estimates, clock, goals, many)
        given = dict(deadlines or {})
        return cls(
            items=items,
            begins_at=begins_at,
            now=clock.present,
            duration=duration,
            planned_duration=max((finish for _, finish in baseline.values()), default=0.0),
            critical_path=_critical(graph, earliest),
            likely=_likely(finishes[""]),
            milestones={goal: _likely(drawn) for goal, drawn in finishes.items() if goal},
            deadlines=given,
            late={
                name: share
                for name, due in given.items()
                if (share := _missed(finishes.get(name, []), (due - begins_at).total_seconds()))
                > risk
            },
        )


class _Clock:
    """Knows the present and what has been, in seconds after the beginning."""

    def __init__(self, begins_at: datetime, now: datetime, actuals: Mapping[str, Actual]) -> None:
        self._begins_at = begins_at
        self._actuals = actuals
        self.present = max(0.0, self._seconds(now))

    def _seconds(self, moment: datetime) -> float:
        return (moment - self._begins_at).total_seconds()

    def standing(self, task: str) -> Standing:
        return self._actuals[task].standing if task in self._actuals else "planned"

    def spans(self, estimates: Mapping[str, Estimate]) -> dict[str, tuple[float | None, float]]:
        """Return when each task began, if it did, and how long it takes."""
        return {key: self.span(key, each.seconds) for key, each in estimates.items()}

    def span(self, task: str, seconds: float) -> tuple[float | None, float]:
        """Return when a task began, if it did, and how long it takes if it is to take `seconds`.

        What runs longer than that is expected to end now, and what has failed is to be done again.
        """
        actual = self._actuals.get(task)
        if actual is None or actual.started_at is None or actual.standing == "failed":
            return None, seconds
        began = self._seconds(actual.started_at)
        if actual.finished_at is not None:
            return began, max(0.0, self._seconds(actual.finished_at) - began)
        return began, max(seconds, self.present - began)


Spans = Mapping[str, tuple[float | None, float]]
Times = dict[str, tuple[float, float]]


def _forward(graph: TaskGraph[str], spans: Spans, not_before: float = 0.0) -> Times:
    times: Times = {}
    for task in graph.order():
        began, seconds = spans[task]
        if began is None:
            ready = max((times[needed][1] for needed in graph.dependencies(task)), default=0.0)
            began = max(ready, not_before)
        times[task] = began, began + seconds
    return times


def _backward(graph: TaskGraph[str], earliest: Times, duration: float) -> Times:
    latest: Times = {}
    for task in reversed(graph.order()):
        start, finish = earliest[task]
        end = min((latest[after][0] for after in graph.dependents(task)), default=duration)
        # What had its turn before all it needs was done (it was tried again) delays nothing more.
        end = max(end, finish)
        latest[task] = end - (finish - start), end
    return latest


def _critical(graph: TaskGraph[str], earliest: Times) -> list[str]:
    """Return the tasks that the end waits for, first to last."""
    if not earliest:
        return []
    # Of what ends together the last in order: a milestone, not what it waits for.
    path = [max(reversed(graph.order()), key=lambda task: earliest[task][1])]
    while needed := graph.dependencies(path[-1]):
        path.append(max(needed, key=lambda task: earliest[task][1]))
    return path[::-1]


def _draw(
    graph: TaskGraph[str],
    estimates: Mapping[str, Estimate],
    clock: _Clock,
    goals: Mapping[str, str],
    draws: int,
) -> dict[str, list[float]]:
    """Return the sorted finishes of each goal, and of everything under the empty name."""
    # Seeded: the same plan gives the same picture.
    source = random.Random(0)  # noqa: S311
    found: dict[str, list[float]] = {"": [], **{goal: [] for goal in goals.values()}}
    order = graph.order()
    places = {task: place for place, task in enumerate(order)}
    needed = [[places[each] for each in graph.dependencies(task)] for task in order]
    lasts = [(found[goal], _last(places, goals, goal)) for goal in found]
    for _ in range(draws):
        ends: list[float] = []
        for place, task in enumerate(order):
            estimate = estimates[task]
            seconds = estimate.seconds * math.exp(source.gauss(0.0, estimate.spread))
            began, took = clock.span(task, seconds)
            if began is None:
                began = max((ends[each] for each in needed[place]), default=0.0)
                began = max(began, clock.present)
            ends.append(began + took)
        for drawn, members in lasts:
            drawn.append(max((ends[each] for each in members), default=0.0))
    return {name: sorted(drawn) for name, drawn in found.items()}


def _last(places: Mapping[str, int], goals: Mapping[str, str], goal: str) -> list[int]:
    """Return the places of a goal's tasks; for the empty name of all tasks."""
    return [place for task, place in places.items() if not goal or goals[task] == goal]


def _likely(drawn: Sequence[float]) -> Likely:
    if not drawn:
        return Likely(p50=0.0, p90=0.0)
    return Likely(p50=_quantile(drawn, 0.5), p90=_quantile(drawn, 0.9))


def _quantile(drawn: Sequence[float], share: float) -> float:
    return drawn[min(len(drawn) - 1, math.ceil(share * len(drawn)) - 1)]


def _missed(drawn: Sequence[float], due: float) -> float:
    return sum(finish > due for finish in drawn) / len(drawn) if drawn else 0.0
