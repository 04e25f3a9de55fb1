"""/console/system: workers, model servers, queues and limits, and how they have done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.console.charts import charts_of
from celery_app.api.console.rendering import page
from celery_app.api.console.tasks import may
from celery_app.celery import agent_manager
from celery_app.errors import ServiceUnavailable
from celery_app.local_desk import LocalDesk
from celery_app.observe.batch import MetricsBatch
from celery_app.observe.metrics_collector import MetricsCollector
from celery_app.observe.series import series
from celery_app.observe.worker_look import Standing, WorkerLook

__all__: list[str] = []

#: Seconds that workers have to answer in, and the time that charts show.
_PATIENCE = 1.0
_TIME = timedelta(hours=1)
_BARS = 60


def show(request: Request, desk: Asking) -> Response:
    """Show how the system stands."""
    workers, silence = _workers(desk)
    return page(
        request,
        "system.html",
        workers=workers,
        silence=silence,
        hosts=_hosts(workers),
        counts=desk.manager.store.counts(),
        agents=agent_manager().profiles if may(desk, "system.read", "system:agents") else [],
        **_measured(desk),
    )


def _workers(desk: LocalDesk) -> tuple[list[Standing], str]:
    """Return who answers, and why nobody can."""
    try:
        return WorkerLook(desk.permissions).workers(_PATIENCE), ""
    except ServiceUnavailable as away:
        return [], str(away)


def _measured(desk: LocalDesk) -> dict[str, Any]:
    """Return the figures and charts, which not everybody may see who may see the workers."""
    if not may(desk, "system.read", "system:metrics"):
        return {"batch": None, "charts": [], "quotas": []}
    collector = MetricsCollector()
    now = datetime.now(UTC)
    samples = collector.history(now - _TIME)
    batch = collector.collect()
    return {
        "batch": batch,
        "charts": charts_of(series(samples, now - _TIME, now, _BARS)) if samples else [],
        "quotas": _quotas(batch),
    }


def _quotas(batch: MetricsBatch) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "taken": quota.taken,
            "capacity": quota.capacity,
            "is_size": name.startswith("memory"),
        }
        for name, quota in batch.resources.quotas.items()
    ]


def _hosts(workers: list[Standing]) -> list[dict[str, Any]]:
    """Return the model servers, each as the workers know it that ask it."""
    found: dict[str, dict[str, Any]] = {}
    for worker in workers:
        for url, told in worker.models.get("hosts", {}).items():
            known = found.setdefault(url, {**told, "url": url, "in_flight": 0, "workers": 0})
            known["in_flight"] += told["in_flight"]
            known["workers"] += 1
    return list(found.values())
