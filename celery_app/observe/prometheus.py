"""All metrics as Prometheus reads them: `exposition()` is what `/metrics` answers.

Invariants
  * Every process gives the same text: it is made from the database at the moment it is asked for.
  * Labels have the values of the settings and of this program (agents, models, hosts, queues, limits,
    states), never ids or words of a user.
  * Counters and histograms never decrease.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from celery_app.observe.families import FAMILIES
from celery_app.observe.family import Reading
from celery_app.observe.metrics_collector import MetricsCollector

__all__ = ["CONTENT_TYPE", "SystemMetricsCollector", "exposition"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


class SystemMetricsCollector:
    """A collector of `prometheus_client`: for a registry of one's own, such as that of an application.

    Args:
        collector: Reads the figures.
    """

    def __init__(self, collector: MetricsCollector | None = None) -> None:
        self._collector = collector or MetricsCollector()

    def collect(self) -> Iterator[Metric]:
        """Yield every family with its samples."""
        figures = self._collector.figures()
        reading = Reading(figures, self._collector.batch_of(figures))
        for family in FAMILIES:
            yield family.read(reading)

    def describe(self) -> Iterator[Metric]:
        """Yield every family without samples, so that to register reads nothing."""
        for family in FAMILIES:
            yield family.empty()


def exposition() -> bytes:
    """Return all metrics as text; it is of the type `CONTENT_TYPE`.

    Raises:
        ServiceUnavailable: Postgres does not answer.
    """
    registry = CollectorRegistry()
    registry.register(SystemMetricsCollector())
    return generate_latest(registry)
