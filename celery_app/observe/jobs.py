"""Beat's jobs: look at the alerts, send what is to be told, and forget what is old.

Any number of beats may send them; a look is made once. Where no worker takes them, beat looks itself, since
that is just when somebody should be told.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from pathlib import Path
from typing import Any

from celery import shared_task, signals

from celery_app.celery import app, database, logs, runs, settings
from celery_app.errors import UnknownTask
from celery_app.observe.alert_rules import AlertFile
from celery_app.observe.alerts import Alerts
from celery_app.observe.figure_path import RecentFigures
from celery_app.observe.outbox import Outbox
from celery_app.stack.home import Home
from celery_app.stack.profile import is_embedded
from celery_app.store.alerts import AlertStore
from celery_app.store.notifications import NotificationStore

__all__ = ["alert_file", "alerts", "outbox"]

logger = logging.getLogger(__name__)

_SHIPPED = Path(__file__).parents[2] / "config" / "alerts.yaml"
_PRUNE_SECONDS = 3600.0
#: Days for which is kept what was told.
_TOLD_DAYS = 30.0
#: Looks that a worker may miss before beat does one itself.
_MISSED = 3


def rules_path() -> Path | None:
    """Return the file of the rules, if there is one."""
    configured = settings.monitoring.alerts.file
    if configured is not None:
        return configured
    folder = Home.of(os.environ).path if is_embedded() else Path(os.environ["CONFIG_PATH"])
    usual = (folder / "alerts.yaml", Path("config/alerts.yaml"), _SHIPPED)
    return next((path for path in usual if path.is_file()), None)


def alert_file() -> AlertFile:
    """Return the rules as they stand now; read anew when the file has changed.

    Raises:
        ConfigurationError: Something in the file is wrong, or it is not there.
    """
    path = rules_path()
    stat = path.stat() if path is not None and path.is_file() else None
    return _read(path, (stat.st_mtime_ns, stat.st_size) if stat else None)


@functools.lru_cache(maxsize=1)
def _read(path: Path | None, mark: tuple[int, int] | None) -> AlertFile:
    return AlertFile.load(path)


def _told_of(digest: str) -> list[str]:
    try:
        return runs.definition(digest).error_handling.notify
    except UnknownTask:
        return []


def alerts() -> Alerts:
    """Return the alerts of this system."""
    return Alerts(
        AlertStore(database), alert_file(), RecentFigures(), _told_of, settings.system.name
    )


def outbox() -> Outbox:
    """Return the outbox of this system."""
    return Outbox(NotificationStore(database), alert_file().notifiers)


@shared_task(name="system.alerts", ignore_result=True)
def look_at_alerts() -> None:
    """Look at the rules, and send what is to be told."""
    alerts().look(settings.monitoring.alerts.interval / 2)
    outbox().deliver()


@shared_task(name="system.prune_logs", ignore_result=True)
def prune_logs() -> None:
    """Forget what was said and told long ago."""
    gone = logs.prune(settings.monitoring.logging.store.retention_days)
    NotificationStore(database).prune(_TOLD_DAYS)
    if gone:
        logger.info("%s events of the log are forgotten: they were too old", gone)


@app.on_after_finalize.connect
def _schedule(sender: Any, **_: Any) -> None:
    interval = settings.monitoring.alerts.interval
    for job, seconds in ((look_at_alerts, interval), (prune_logs, _PRUNE_SECONDS)):
        sender.add_periodic_task(seconds, job.s(), name=job.name, expires=seconds)


class AlertWatch(threading.Thread):
    """Looks from beat when nobody else has for a while."""

    def __init__(self) -> None:
        super().__init__(name="alert-watch", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Watch until the process ends."""
        interval = settings.monitoring.alerts.interval
        while not self._stopping.wait(interval):
            try:
                if alerts().look(_MISSED * interval):
                    outbox().deliver()
            except Exception:
                # Whatever it was: the next look may well go.
                logger.exception("alerts are looked at again in %g s", interval)


@signals.beat_init.connect
def _watch(**_: Any) -> None:
    AlertWatch().start()
