"""/metrics: how agents, tasks, queues and models do, for Prometheus and as JSON."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.route import document
from celery_app.observe.metrics_collector import MetricsCollector
from celery_app.observe.prometheus import CONTENT_TYPE, exposition
from workflows.storable import Moment


def exposed(desk: Asking) -> Response:
    """Tell all metrics as Prometheus reads them."""
    desk.permissions.require("system.read", "system:metrics")
    return Response(exposition(), headers={"Content-Type": CONTENT_TYPE})


def batch(
    desk: Asking,
    since: Annotated[
        Moment | None, Query(description="Sum up only what ended after this; by default all.")
    ] = None,
) -> Response:
    """Tell all metrics as `ai-agent metrics --json` does."""
    desk.permissions.require("system.read", "system:metrics")
    return document(MetricsCollector(since).collect().model_dump(mode="json"))
