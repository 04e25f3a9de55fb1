"""The section `monitoring` of config/system.yaml: metrics, logs, traces and Flower."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from celery_app.sections import Protected, Section

__all__ = ["Flower", "Logging", "Metrics", "Monitoring", "Tracing"]


class Metrics(Section):
    """How often samples are taken (seconds), and how long they are kept (days)."""

    interval: PositiveFloat = 60
    retention_days: PositiveInt = 30


class Logging(Section):
    """What is logged, how, and where to (`stdout`, `stderr` or a file)."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    format: Literal["json", "text"] = "json"
    output: str = "stdout"


class Tracing(Section):
    """Whether runs are traced, and where spans go (the base URL of an OTLP/HTTP receiver).

    Where `endpoint` and `sample_ratio` are left out, OpenTelemetry's environment decides. Words of
    tasks and models are in no span unless `content` lets them. Every `interval` seconds it is looked
    what has ended.
    """

    enabled: bool = False
    endpoint: str | None = Field(None, pattern=r"^https?://\S+$")
    sample_ratio: float | None = Field(None, ge=0, le=1)
    content: bool = False
    interval: PositiveFloat = 1


class Flower(Protected):
    """Whom Flower lets in. Without a `password_file` a password is made, and kept in the home."""

    auth: bool = True
    user: str = Field("ai-agent", pattern=r"^[^:\s]+$")


class Monitoring(Section):
    """Metrics, logs, traces and Flower."""

    metrics: Metrics = Metrics()
    logging: Logging = Logging()
    tracing: Tracing = Tracing()
    flower: Flower = Flower()
