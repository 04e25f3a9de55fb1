"""`MetricsCollector`: all metrics of the system as one batch, and their history.

Invariant: whoever collects, in whatever process, gives the same figures: they come from the database.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from celery_app.celery import agent_manager, database, settings
from celery_app.observe.batch import (
    AgentMetrics,
    MetricsBatch,
    ResourceMetrics,
    SystemMetrics,
    TaskMetrics,
    rolled_up,
)
from celery_app.observe.collectors import (
    AgentCollector,
    BaseCollector,
    ResourceCollector,
    SystemCollector,
    TaskCollector,
)
from celery_app.store.figures import Figures
from celery_app.store.measuring import FigureStore
from celery_app.store.metrics import MetricsStore

__all__ = ["MetricsCollector"]

#: Samples stay as they were taken for so long; then one is kept for each hour.
_HOURS_IN_FULL = 24.0


class MetricsCollector:
    """Asks all collectors and keeps what they say.

    Args:
        since: Sum up only what ended after this; by default everything.

    Attributes:
        metrics_store: The samples.
        collectors: Who makes which part of a batch, by its name.
    """

    def __init__(self, since: datetime | None = None) -> None:
        self.metrics_store = MetricsStore(database)
        self.collectors: dict[str, BaseCollector] = {
            "system": SystemCollector(settings.system.name, settings.system.version, since),
            "agents": AgentCollector(),
            "tasks": TaskCollector(),
            "resources": ResourceCollector(),
        }
        self._since = since

    async def collect_metrics(self) -> MetricsBatch:
        """Return all metrics as they are now."""
        return self.collect()

    def collect(self) -> MetricsBatch:
        """Return all metrics as they are now."""
        return self.batch_of(self.figures())

    def figures(self) -> Figures:
        """Read what metrics are made of."""
        models = {profile.name: profile.model for profile in agent_manager().profiles}
        return FigureStore(database).read(models, self._since)

    def batch_of(self, figures: Figures) -> MetricsBatch:
        """Return what the collectors make of figures."""
        parts = {name: collector.collect(figures) for name, collector in self.collectors.items()}
        return MetricsBatch(
            system=cast(SystemMetrics, parts["system"]),
            agents=cast(AgentMetrics, parts["agents"]),
            tasks=cast(TaskMetrics, parts["tasks"]),
            resources=cast(ResourceMetrics, parts["resources"]),
        )

    def sample(self, interval: float, retention_days: float) -> bool:
        """Keep the present interval's sample, unless it is there or being taken; tidy up what is old.

        Returns:
            Whether it was taken here.
        """
        with self.metrics_store.turn() as mine:
            slot = self.metrics_store.open_slot(interval) if mine else None
            if slot is None:
                return False
            taken = self.metrics_store.keep(slot, self.collect().model_dump(mode="json"))
            self._tidy(retention_days)
            return taken

    def history(self, since: datetime) -> list[tuple[datetime, MetricsBatch]]:
        """Return the samples from a moment on, with the moments at which they began."""
        samples = self.metrics_store.history(since)
        return [(sample.slot, MetricsBatch.model_validate(sample.body)) for sample in samples]

    def _tidy(self, retention_days: float) -> None:
        for samples in self.metrics_store.full_hours(_HOURS_IN_FULL):
            batches = [MetricsBatch.model_validate(sample.body) for sample in samples]
            self.metrics_store.roll_up(samples, rolled_up(batches).model_dump(mode="json"))
        self.metrics_store.prune(retention_days)
