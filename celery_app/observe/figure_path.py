"""Figures of a `MetricsBatch` by their paths: `agents.error_rate`, `resources.models.qwen.repair_rate`.

Invariant: a path is one of `ai-agent metrics --json`. What is named by people there (agents, models, queues,
states) need not be there yet; everything else must be.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import get_args

from celery_app.observe.batch import Measured, MetricsBatch
from celery_app.observe.metrics_collector import MetricsCollector

__all__ = ["RecentFigures", "checked_path", "figure"]

#: Figures that sum up are those of what ended within this time.
_RECENT = timedelta(minutes=15)


def checked_path(path: str) -> str:
    """Return the path of a figure. Raises `ValueError` where there can be none of that path."""
    inside: object = MetricsBatch
    for name in path.split("."):
        if not (isinstance(inside, type) and issubclass(inside, Measured)):
            # Under a name that people give: a dictionary's values, or a figure.
            values = get_args(inside)
            if len(values) != 2:
                raise ValueError(f"{path} goes on where there is a figure already")
            inside = values[1]
        elif name in inside.model_fields:
            inside = inside.model_fields[name].annotation
        else:
            known = ", ".join(inside.model_fields)
            raise ValueError(f"{path}: there is no {name}; there are {known}")
    return path


def figure(batch: MetricsBatch, path: str) -> float | None:
    """Return the figure of a path; None if it was not measured."""
    found: object = batch.model_dump()
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


class RecentFigures:
    """Gives figures of the last quarter of an hour, read once, when the first is asked for."""

    def __call__(self, path: str) -> float | None:
        """Return the figure of a path; None if it was not measured."""
        return figure(self._batch, path)

    @functools.cached_property
    def _batch(self) -> MetricsBatch:
        return MetricsCollector(since=datetime.now(UTC) - _RECENT).collect()
