"""A metric for Prometheus, and how its values are taken from a reading.

Invariant: a family without values is there all the same, so that whoever reads knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from celery_app.observe.batch import AgentFigures, MetricsBatch, ModelMetrics
from celery_app.store.figures import Figures, Spread

__all__ = [
    "Family",
    "Reading",
    "Value",
    "attempt_counts",
    "by_agent",
    "by_model",
    "call_counts",
    "call_durations",
    "cold_starts",
    "counted",
    "info",
    "lease_counts",
    "limits",
    "oldest_waits",
    "queue_tasks",
    "server_seconds",
    "single",
    "speeds",
    "spreads_by",
    "task_counts",
    "token_counts",
]

Kind = Literal["counter", "gauge", "histogram"]
Value = tuple[tuple[str, ...], float | Spread | None]
"""The values of the labels, and what was measured (None: nothing yet)."""


@dataclass(frozen=True)
class Reading:
    """What values are taken from: figures, and the batch that was made of them."""

    figures: Figures
    batch: MetricsBatch


@dataclass(frozen=True)
class Family:
    """A metric.

    Attributes:
        name: Its name; that of a counter ends with ``_total``.
        kind: What kind it is of.
        labels: The names of its labels.
        help: What it means, with the unit.
        values: Its values in a reading.
        bounds: Of a histogram: the upper bounds of its buckets.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    values: Callable[[Reading], Iterable[Value]]
    bounds: tuple[float, ...] = ()

    def empty(self) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
        """Return it without values."""
        if self.kind == "counter":
            return CounterMetricFamily(self.name, self.help, labels=self.labels)
        if self.kind == "histogram":
            return HistogramMetricFamily(self.name, self.help, labels=self.labels)
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    def read(self, reading: Reading) -> Metric:
        """Return it with its values."""
        metric = self.empty()
        for labels, value in self.values(reading):
            if isinstance(metric, HistogramMetricFamily):
                assert isinstance(value, Spread)
                metric.add_metric(labels, self._buckets(value), value.total)
            elif value is not None:
                assert not isinstance(value, Spread)
                metric.add_metric(labels, value)
        return metric

    def _buckets(self, spread: Spread) -> list[tuple[str, int]]:
        within = [(str(float(b)), n) for b, n in zip(self.bounds, spread.within, strict=True)]
        return [*within, ("+Inf", spread.count)]


def single(value: Callable[[MetricsBatch], float | None]) -> Callable[[Reading], Iterable[Value]]:
    """Take one value of the batch."""
    return lambda reading: [((), value(reading.batch))]


def by_agent(
    value: Callable[[AgentFigures], float | None],
) -> Callable[[Reading], Iterable[Value]]:
    """Take a value of each agent."""

    def values(reading: Reading) -> Iterator[Value]:
        for name, agent in reading.batch.agents.by_agent.items():
            yield (name,), value(agent)

    return values


def by_model(
    value: Callable[[ModelMetrics], float | None],
) -> Callable[[Reading], Iterable[Value]]:
    """Take a value of each model."""

    def values(reading: Reading) -> Iterator[Value]:
        for name, model in reading.batch.resources.models.items():
            yield (name,), value(model)

    return values


def counted(
    counts: Callable[[ModelMetrics], Mapping[str, int]],
) -> Callable[[Reading], Iterable[Value]]:
    """Take counts of each model, by their kind."""

    def values(reading: Reading) -> Iterator[Value]:
        for name, model in reading.batch.resources.models.items():
            for kind, count in counts(model).items():
                yield (name, kind), count

    return values


def spreads_by(
    kind: str, spreads: Callable[[Figures], Mapping[tuple[str, str], Spread]]
) -> Callable[[Reading], Iterable[Value]]:
    """Take how long something took, by one kind of group."""

    def values(reading: Reading) -> Iterator[Value]:
        for (of, name), spread in sorted(spreads(reading.figures).items()):
            # Tasks that no model performs wait for none.
            if of == kind and (name or kind != "model"):
                yield (name,), spread

    return values


def task_counts(reading: Reading) -> Iterator[Value]:
    """Yield tasks by agent and state."""
    for tasks in reading.figures.tasks:
        yield (tasks.agent or "", tasks.state), tasks.count


def attempt_counts(reading: Reading) -> Iterator[Value]:
    """Yield attempts by agent and outcome."""
    for (agent, outcome), count in reading.figures.attempts.items():
        yield (agent or "", outcome), count


def call_counts(reading: Reading) -> Iterator[Value]:
    """Yield calls by model and host."""
    for calls in reading.figures.calls:
        yield (calls.model, calls.host), calls.count


def token_counts(reading: Reading) -> Iterator[Value]:
    """Yield tokens by model, host and kind."""
    for calls in reading.figures.calls:
        yield (calls.model, calls.host, "prompt"), calls.prompt_tokens
        yield (calls.model, calls.host, "generated"), calls.generated_tokens


def server_seconds(reading: Reading) -> Iterator[Value]:
    """Yield seconds of servers by model, host and phase."""
    for calls in reading.figures.calls:
        yield (calls.model, calls.host, "load"), calls.load_seconds
        yield (calls.model, calls.host, "prompt"), calls.prompt_seconds
        yield (calls.model, calls.host, "generate"), calls.generate_seconds


def cold_starts(reading: Reading) -> Iterator[Value]:
    """Yield cold starts by model and host."""
    for calls in reading.figures.calls:
        yield (calls.model, calls.host), calls.cold_starts


def call_durations(reading: Reading) -> Iterator[Value]:
    """Yield how long calls took, by model."""
    for name, spread in sorted(reading.figures.call_durations.items()):
        yield (name,), spread


def speeds(reading: Reading) -> Iterator[Value]:
    """Yield tokens in a second, by model and kind."""
    for name, model in reading.batch.resources.models.items():
        yield (name, "prompt"), model.prompt_tokens_per_second
        yield (name, "generated"), model.generated_tokens_per_second


def queue_tasks(reading: Reading) -> Iterator[Value]:
    """Yield what waits and what runs, by queue."""
    for name, queue in reading.batch.tasks.queues.items():
        yield (name, "waiting"), queue.waiting
        yield (name, "running"), queue.running


def oldest_waits(reading: Reading) -> Iterator[Value]:
    """Yield the longest wait of those that wait, by queue."""
    for name, queue in reading.batch.tasks.queues.items():
        yield (name,), queue.oldest_seconds


def lease_counts(reading: Reading) -> Iterator[Value]:
    """Yield live leases by agent."""
    for name in reading.batch.agents.by_agent:
        yield (name,), reading.figures.leases.get(name, 0)


def limits(*, taken: bool) -> Callable[[Reading], Iterable[Value]]:
    """Take of each limit what is taken, or what may be."""

    def values(reading: Reading) -> Iterator[Value]:
        for name, quota in reading.batch.resources.quotas.items():
            yield (name,), quota.taken if taken else quota.capacity

    return values


def info(reading: Reading) -> Iterator[Value]:
    """Yield who is measured."""
    yield (reading.batch.system.name, reading.batch.system.version), 1
