"""The Celery task that takes samples; beat sends it each `monitoring.metrics.interval` seconds."""

from __future__ import annotations

from celery import shared_task

from celery_app.celery import settings
from celery_app.observe.metrics_collector import MetricsCollector


@shared_task(name="system.metrics", ignore_result=True)
def metrics() -> None:
    """Take this interval's sample, unless somebody has."""
    configured = settings.monitoring.metrics
    MetricsCollector().sample(configured.interval, configured.retention_days)
