"""What is measured, as one document: the system, its agents, its tasks, and what they take.

Invariants
  * Times are seconds. Figures that sum up grow for ever (or since `since`); those of the type `Momentary`
    are of the moment `at`.
  * What was not measured yet is None, never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict

__all__ = [
    "AgentFigures",
    "AgentMetrics",
    "MetricsBatch",
    "ModelMetrics",
    "QueueMetrics",
    "QuotaMetrics",
    "ResourceMetrics",
    "SpreadMetrics",
    "SystemMetrics",
    "TaskMetrics",
    "rolled_up",
]

_MEAN = "rolled up as the mean"

Momentary = Annotated[int | float, _MEAN]
"""A figure of the moment. Of several samples the mean is kept, of all others the last."""


class Measured(BaseModel):
    """A part of the document."""

    model_config = ConfigDict(protected_namespaces=())


class SpreadMetrics(Measured):
    """How often something was and how long it took: in total, on average, at most for half of them, ..."""

    count: int = 0
    total: float = 0.0
    average: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class SystemMetrics(Measured):
    """The system as a whole, at the moment `at`; sums count what ended after `since` (None: all)."""

    name: str = ""
    version: str = ""
    at: datetime | None = None
    since: datetime | None = None
    workers: Momentary = 0
    live_leases: Momentary = 0
    expired_leases: Momentary = 0
    open_approvals: Momentary = 0
    budget_waits: Momentary = 0
    database_bytes: Momentary = 0


class AgentFigures(Measured):
    """The specification's four figures.

    `active_agents` are those that hold live leases. Of the `tasks` that were carried through (succeeded,
    failed or cancelled) `task_completion_rate` is the share that succeeded, and `error_rate` the share
    that failed. `average_response_time` is how long an attempt takes.
    """

    active_agents: Momentary = 0
    task_completion_rate: float | None = None
    average_response_time: float | None = None
    error_rate: float | None = None
    tasks: int = 0


class AgentMetrics(AgentFigures):
    """The four figures of all agents together, with tasks that need none, and of each."""

    by_agent: dict[str, AgentFigures] = {}


class QueueMetrics(Measured):
    """A queue: tasks that could run and wait, for how long the oldest has, and how long others have."""

    waiting: Momentary = 0
    running: Momentary = 0
    oldest_seconds: Momentary = 0
    wait: SpreadMetrics = SpreadMetrics()


class TaskMetrics(Measured):
    """Tasks by their state, attempts by how they ended, and how long these took and waited."""

    by_state: dict[str, int] = {}
    attempts: dict[str, int] = {}
    at_risk: Momentary = 0
    overdue: Momentary = 0
    duration: SpreadMetrics = SpreadMetrics()
    queue_wait: SpreadMetrics = SpreadMetrics()
    queues: dict[str, QueueMetrics] = {}


class ModelMetrics(Measured):
    """What a model did.

    `cold_starts` are calls for which the server had to load it. `answers` count how questions for a
    value came out; `repair_rate` is the share of the values that were read only after asking again.
    `refusals` are texts that did not fit and answers without an end. `idle_share` is, of the time in
    which there was work for the model, how much it had none in hand while tasks waited.
    """

    calls: int = 0
    duration: SpreadMetrics = SpreadMetrics()
    prompt_tokens: int = 0
    generated_tokens: int = 0
    prompt_tokens_per_second: float | None = None
    generated_tokens_per_second: float | None = None
    load_seconds: float = 0.0
    prompt_seconds: float = 0.0
    generate_seconds: float = 0.0
    cold_starts: int = 0
    queue_wait: SpreadMetrics = SpreadMetrics()
    answers: dict[str, int] = {}
    repair_rate: float | None = None
    refusals: dict[str, int] = {}
    demand_seconds: float = 0.0
    idle_seconds: float = 0.0
    idle_share: float | None = None


class QuotaMetrics(Measured):
    """What is taken of a limit that all workers share."""

    capacity: Momentary = 0
    taken: Momentary = 0


class ResourceMetrics(Measured):
    """Models and the limits, with what calls took of all models together."""

    calls: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    models: dict[str, ModelMetrics] = {}
    quotas: dict[str, QuotaMetrics] = {}


class MetricsBatch(Measured):
    """All metrics of one moment."""

    system: SystemMetrics = SystemMetrics()
    agents: AgentMetrics = AgentMetrics()
    tasks: TaskMetrics = TaskMetrics()
    resources: ResourceMetrics = ResourceMetrics()


Part = TypeVar("Part", bound=Measured)


def rolled_up(parts: Sequence[Part]) -> Part:
    """Return one document for several that follow each other: means of the moments, the last of sums."""
    last = parts[-1]
    changed: dict[str, Any] = {}
    for name, field in type(last).model_fields.items():
        values = [getattr(part, name) for part in parts]
        if _MEAN in field.metadata:
            changed[name] = sum(values) / len(values)
        elif isinstance(values[-1], Measured):
            changed[name] = rolled_up(values)
        elif isinstance(values[-1], dict):
            changed[name] = {key: _under(key, values) for key in values[-1]}
    return last.model_copy(update=changed)


def _under(key: str, values: Sequence[dict[str, Any]]) -> Any:
    found = [each[key] for each in values if key in each]
    return rolled_up(found) if isinstance(found[-1], Measured) else found[-1]
