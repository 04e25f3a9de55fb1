"""The four collectors: each makes its part of the document from figures of one moment.

Invariant: they read nothing themselves, so the parts of a document never contradict each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel

from celery_app.observe.batch import (
    AgentFigures,
    AgentMetrics,
    ModelMetrics,
    QueueMetrics,
    QuotaMetrics,
    ResourceMetrics,
    SpreadMetrics,
    SystemMetrics,
    TaskMetrics,
)
from celery_app.store.figures import Figures, QueueNow, Spread

__all__ = [
    "AgentCollector",
    "BaseCollector",
    "ResourceCollector",
    "SystemCollector",
    "TaskCollector",
]

#: Answers that are none: what was refused since it would not have been whole.
_REFUSALS = ("overflow", "cut")
_CARRIED_THROUGH = ("succeeded", "failed", "cancelled")


class BaseCollector(Protocol):
    """Makes one part of a `MetricsBatch`."""

    def collect(self, figures: Figures) -> BaseModel:
        """Return the part that these figures give."""
        ...


class SystemCollector:
    """The system as a whole.

    Args:
        name: Its name and version, as configured.
        version: The same.
        since: What is summed up ended after this.
    """

    def __init__(self, name: str, version: str, since: datetime | None = None) -> None:
        self._name = name
        self._version = version
        self._since = since

    def collect(self, figures: Figures) -> SystemMetrics:
        """Return how it stands."""
        now = figures.now
        return SystemMetrics(
            name=self._name,
            version=self._version,
            at=now.at,
            since=self._since,
            workers=now.workers,
            live_leases=now.live_leases,
            expired_leases=now.expired_leases,
            open_approvals=now.open_approvals,
            budget_waits=now.budget_waits,
            database_bytes=now.database_bytes,
        )


class AgentCollector:
    """The four figures, together and of each agent that was ever given a task."""

    def collect(self, figures: Figures) -> AgentMetrics:
        """Return them."""
        counts: dict[str | None, Counter[str]] = defaultdict(Counter)
        for tasks in figures.tasks:
            counts[tasks.agent][tasks.state] += tasks.count
        names = {name for name in counts if name is not None} | {*figures.leases}
        every = _four(
            sum(counts.values(), Counter()), len(figures.leases), figures.durations.get(("all", ""))
        )
        return AgentMetrics(
            **every.model_dump(),
            by_agent={
                name: _four(
                    counts[name],
                    int(name in figures.leases),
                    figures.durations.get(("agent", name)),
                )
                for name in sorted(names)
            },
        )


class TaskCollector:
    """Tasks, attempts and queues."""

    def collect(self, figures: Figures) -> TaskMetrics:
        """Return how they stand and stood."""
        states: Counter[str] = Counter()
        for tasks in figures.tasks:
            states[tasks.state] += tasks.count
        outcomes: Counter[str] = Counter()
        for (_, outcome), count in figures.attempts.items():
            outcomes[outcome] += count
        return TaskMetrics(
            by_state=_sorted(states),
            attempts=_sorted(outcomes),
            at_risk=figures.now.at_risk,
            overdue=figures.now.overdue,
            duration=spread_of(figures.durations.get(("all", ""))),
            queue_wait=spread_of(figures.waits.get(("all", ""))),
            queues=_queues(figures),
        )


class ResourceCollector:
    """Models, and the limits that all workers share."""

    def collect(self, figures: Figures) -> ResourceMetrics:
        """Return what is taken, and what was."""
        names = {calls.model for calls in figures.calls} | {row.model for row in figures.demands}
        names |= {model for model, _ in figures.answers}
        return ResourceMetrics(
            calls=sum(calls.count for calls in figures.calls),
            prompt_tokens=sum(calls.prompt_tokens for calls in figures.calls),
            generated_tokens=sum(calls.generated_tokens for calls in figures.calls),
            models={name: _model(figures, name) for name in sorted(names)},
            quotas={
                quota.name: QuotaMetrics(capacity=quota.capacity, taken=quota.taken)
                for quota in sorted(figures.quotas, key=lambda quota: quota.name)
            },
        )


def spread_of(spread: Spread | None) -> SpreadMetrics:
    """Return a spread as it is shown."""
    found = spread or Spread()
    half, most, nearly_all = found.percentiles
    return SpreadMetrics(
        count=found.count,
        total=found.total,
        average=found.average,
        p50=half,
        p95=most,
        p99=nearly_all,
    )


def _four(states: Counter[str], active: int, durations: Spread | None) -> AgentFigures:
    tasks = sum(states[state] for state in _CARRIED_THROUGH)
    return AgentFigures(
        active_agents=active,
        task_completion_rate=_share(states["succeeded"], tasks),
        average_response_time=durations.average if durations else None,
        error_rate=_share(states["failed"], tasks),
        tasks=tasks,
    )


def _queues(figures: Figures) -> dict[str, QueueMetrics]:
    now = {queue.queue: queue for queue in figures.queues}
    waited = {name for kind, name in figures.waits if kind == "queue"}
    return {
        name: QueueMetrics(
            waiting=(at := now.get(name, QueueNow(name, 0, 0, 0.0))).waiting,
            running=at.running,
            oldest_seconds=at.oldest_seconds,
            wait=spread_of(figures.waits.get(("queue", name))),
        )
        for name in sorted(waited | now.keys())
    }


def _model(figures: Figures, name: str) -> ModelMetrics:
    calls = [row for row in figures.calls if row.model == name]
    answers = {path: count for (model, path), count in figures.answers.items() if model == name}
    refusals = {path: answers.pop(path) for path in _REFUSALS if path in answers}
    demands = [row for row in figures.demands if row.model == name]
    demand, idle = (
        sum(row.demand_seconds for row in demands),
        sum(row.idle_seconds for row in demands),
    )
    reading = sum(row.prompt_seconds for row in calls)
    writing = sum(row.generate_seconds for row in calls)
    return ModelMetrics(
        calls=sum(row.count for row in calls),
        duration=spread_of(figures.call_durations.get(name)),
        prompt_tokens=sum(row.prompt_tokens for row in calls),
        generated_tokens=sum(row.generated_tokens for row in calls),
        prompt_tokens_per_second=_share(sum(row.timed_prompt_tokens for row in calls), reading),
        generated_tokens_per_second=_share(
            sum(row.timed_generated_tokens for row in calls), writing
        ),
        load_seconds=sum(row.load_seconds for row in calls),
        prompt_seconds=reading,
        generate_seconds=writing,
        cold_starts=sum(row.cold_starts for row in calls),
        queue_wait=spread_of(figures.waits.get(("model", name))),
        answers=_sorted(answers),
        repair_rate=_share(answers.get("repaired", 0), sum(answers.values())),
        refusals=refusals,
        demand_seconds=demand,
        idle_seconds=idle,
        idle_share=_share(idle, demand),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))
