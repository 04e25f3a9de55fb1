"""What a worker does for the result backend besides storing results.

Invariants
  * A worker whose code and database differ in their schema ends at once and says what to do.
  * Bodies of chords that somebody died over are published by any worker; each body is taken by one.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import bootsteps

from celery_app.errors import AgentSystemError
from celery_app.postgres.backend import PostgresBackend
from celery_app.postgres.migrate import check_schema

logger = logging.getLogger(__name__)


class ResultBackendStep(bootsteps.StartStopStep):
    """Worker bootstep for every project with this result backend: ``app.steps["worker"].add(...)``.

    Two options of ``result_backend_transport_options`` are its own, both in seconds: every
    ``publish_interval`` (5) it looks for bodies that have been ready for ``publish_grace`` (10).
    """

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._stopping = threading.Event()
        self._sent = 0

    def include_if(self, worker: Any) -> bool:
        """Tell whether the app uses this backend at all."""
        return isinstance(worker.app.backend, PostgresBackend)

    def create(self, worker: Any) -> None:
        """Compare the schema, before anything else has begun."""
        backend: PostgresBackend = worker.app.backend
        try:
            check_schema(backend.database)
        except AgentSystemError as error:
            logger.critical("%s", error)
            raise SystemExit(error.exit_code) from error
        finally:
            # Children are forked after this: they inherit no connection.
            backend.database.dispose()

    def start(self, worker: Any) -> None:
        """Begin to look for bodies that were never published."""
        options = worker.app.conf.result_backend_transport_options or {}
        interval = float(options.get("publish_interval", 5))
        grace = float(options.get("publish_grace", 10))
        threading.Thread(
            target=self._run,
            args=(worker.app.backend, interval, grace),
            name="chord-publisher",
            daemon=True,
        ).start()

    def stop(self, worker: Any) -> None:
        """End after the look that is under way."""
        self._stopping.set()

    def info(self, worker: Any) -> dict[str, Any]:
        """Return what `inspect stats` and Flower show."""
        return {"chord_bodies_sent_again": self._sent}

    def _run(self, backend: PostgresBackend, interval: float, grace: float) -> None:
        while not self._stopping.wait(interval):
            try:
                self._sent += backend.publish_ready_chords(grace)
            except Exception:
                # Whatever it was: nobody else would publish what is left behind.
                logger.exception("the look for unpublished chord bodies will be repeated")
