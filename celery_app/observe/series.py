"""Samples as a few series of values, for charts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from celery_app.observe.batch import MetricsBatch

__all__ = ["means", "series", "steps"]

T = TypeVar("T")

Values = list[float | None]


def series(
    samples: Sequence[tuple[datetime, MetricsBatch]], since: datetime, until: datetime, width: int
) -> dict[str, Values]:
    """Return what charts of the system show by name, as the values of `width` equal parts of a time.

    Tasks that ended and failed and tokens that were written are sums of each part; those that wait and run
    are means. None: nothing was measured.
    """
    bounds = (since, until, width)
    return {
        "ended": steps(samples, lambda b: b.tasks.duration.count, *bounds),
        "failed": steps(samples, lambda b: b.tasks.attempts.get("failed", 0), *bounds),
        "waiting": means(samples, _waiting, *bounds),
        "running": means(samples, lambda b: b.system.live_leases, *bounds),
        "tokens": steps(samples, lambda b: b.resources.generated_tokens, *bounds),
    }


def _waiting(batch: MetricsBatch) -> float:
    return sum(queue.waiting for queue in batch.tasks.queues.values())


def means(
    samples: Iterable[tuple[datetime, T]],
    value: Callable[[T], float],
    since: datetime,
    until: datetime,
    width: int,
) -> list[float | None]:
    """Return the mean of what was measured, in each of `width` equal parts of a time."""
    parts: list[list[float]] = [[] for _ in range(width)]
    for moment, sample in samples:
        parts[_part(moment, since, until, width)].append(value(sample))
    return [sum(part) / len(part) if part else None for part in parts]


def steps(
    samples: Iterable[tuple[datetime, T]],
    value: Callable[[T], float],
    since: datetime,
    until: datetime,
    width: int,
) -> list[float | None]:
    """Return how much a sum has grown, in each of `width` equal parts of a time.

    The first sample only tells from where it grows.
    """
    grown: list[float | None] = [None] * width
    last: float | None = None
    for moment, sample in samples:
        now = value(sample)
        if last is not None:
            part = _part(moment, since, until, width)
            grown[part] = (grown[part] or 0.0) + now - last
        last = now
    return grown


def _part(moment: datetime, since: datetime, until: datetime, width: int) -> int:
    return min(width - 1, max(0, int((moment - since) / (until - since) * width)))
