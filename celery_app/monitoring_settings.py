"""The section `monitoring` of config/system.yaml: metrics, logs, alerts, traces and Flower."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from celery_app.sections import FilePath, Protected, Section

__all__ = ["Alerts", "Flower", "Logging", "Metrics", "Monitoring", "StoredLogs", "Tracing"]

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Metrics(Section):
    """How often samples are taken (seconds), and how long they are kept (days)."""

    interval: PositiveFloat = 60
    retention_days: PositiveInt = 30


class StoredLogs(Section):
    """What of the logs is kept in Postgres, and for how many days.

    `level` is for our own loggers and for what is said within a task, `others` for everything else, such
    as Celery's own lines; `OFF` keeps nothing. `sample` keeps a fraction of what a logger says below
    WARNING. `processors` are the user's own, as dotted names. At most `buffer` events wait in a process
    while Postgres is away.
    """

    level: Level | Literal["OFF"] = "INFO"
    others: Level | Literal["OFF"] = "WARNING"
    retention_days: PositiveFloat = 30
    sample: dict[str, Fraction] = Field(default={})
    processors: list[str] = Field(default=[])
    buffer: PositiveInt = 20_000


class Logging(Section):
    """What is logged, how, and where to (`stdout`, `stderr` or a file)."""

    level: Level = "INFO"
    format: Literal["json", "console"] = "json"
    output: str = "stdout"
    store: StoredLogs = StoredLogs()


class Alerts(Section):
    """The rules of alerts (`file`), and how often they are looked at (seconds).

    By default the file is alerts.yaml beside system.yaml (of the embedded system: in its home); else
    config/alerts.yaml, seen from where a process runs, or from where this system was checked out.
    """

    file: FilePath | None = None
    interval: PositiveFloat = 10


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
    """Whom Flower lets in. Without a `password_file` a password is made, and kept in the home.

    `url` is where people find it, for the links of the console; by default port 5555 of the same host.
    """

    auth: bool = True
    user: str = Field("ai-agent", pattern=r"^[^:\s]+$")
    url: str | None = Field(None, pattern=r"^https?://\S+$")


class Monitoring(Section):
    """Metrics, logs, alerts, traces and Flower."""

    metrics: Metrics = Metrics()
    logging: Logging = Logging()
    alerts: Alerts = Alerts()
    tracing: Tracing = Tracing()
    flower: Flower = Flower()
