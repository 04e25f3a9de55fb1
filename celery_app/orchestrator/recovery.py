"""Find work that somebody died over, and send it again.

Everything here is safe to do twice and by anyone: a duplicate message meets its claim. One process
does it at a time (advisory lock), a thread of any worker, every few seconds and at worker start.

What it finds: leases that ran out, tasks that became ready in a commit whose author died before
publishing, retries that are due, and messages that the broker forgot. (The chords of ordinary Celery
tasks have the result backend's own bootstep.)
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

from celery import bootsteps
from sqlalchemy import text

from celery_app.celery import app, database, executions, queue, settings
from celery_app.orchestrator.deadlines import Deadlines
from celery_app.postgres.connection import Database
from celery_app.queues import PriorityQueue
from celery_app.store.execution import ExecutionStore

logger = logging.getLogger(__name__)

_LOCK = 0x41475243
#: A task whose worker vanished this often is taken to be what kills workers.
POISON_LIMIT = 3
#: Seconds between looks for retries that are due.
_DUE_INTERVAL = 1.0


@dataclass
class Recovery:
    """One pass over everything that may have been left behind.

    Args:
        database: Holds the lock that makes passes exclusive.
        executions: The graph's rows.
        queue: Where things are sent again.
        deadlines: Tells which of them will be missed.
        grace: Seconds after which something that should have moved is taken to be lost.
    """

    database: Database
    executions: ExecutionStore
    queue: PriorityQueue
    deadlines: Deadlines
    grace: float

    def run(self) -> int:
        """Do one pass, unless another process is at it; return how many tasks were sent again."""
        with self.database.session() as session:
            mine = session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})
            if not mine:
                return 0
            try:
                return self._pass()
            finally:
                session.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})

    def release_due(self) -> int:
        """Send what is due, or has its turn now; return how many."""
        found = self.executions.release_all()
        self.queue.publish(found)
        return len(found)

    def _pass(self) -> int:
        for claim in self.executions.requeue_expired(POISON_LIMIT):
            message = (
                f"its worker vanished {POISON_LIMIT} times while it ran; it is not tried again"
            )
            logger.error("task %s: %s", claim.id, message)
            error = {"type": "PoisonTask", "message": message}
            self.queue.publish(self.executions.finish(claim, "failed", error=error))
        self._find_forgotten()
        self.deadlines.look()
        return self.release_due()

    def _find_forgotten(self) -> None:
        suspects = self.executions.published_before(self.grace)
        if suspects:
            waiting = self.queue.waiting_ids()
            forgotten = [task_id for task_id in suspects if task_id not in waiting]
            if forgotten:
                logger.warning(
                    "%s messages are no longer with the broker; sending again", len(forgotten)
                )
                self.executions.forget_messages(forgotten)


_deadlines = Deadlines(database)


def recovery() -> Recovery:
    """Return the recovery of the app as it is configured."""
    return Recovery(database, executions, queue, _deadlines, settings.recovery.grace)


class RecoveryStep(bootsteps.StartStopStep):
    """Worker bootstep: recovery in a thread of every worker's main process."""

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = settings.recovery.enabled
        self._stopping = threading.Event()
        self._sent = 0

    def start(self, worker: Any) -> None:
        """Begin with a pass at once: whatever the last worker left is picked up now."""
        threading.Thread(target=self._run, name="recovery", daemon=True).start()

    def stop(self, worker: Any) -> None:
        """End after the pass that is under way."""
        self._stopping.set()

    def info(self, worker: Any) -> dict[str, Any]:
        """What `inspect stats` and Flower show."""
        return {"recovery": {"sent_again": self._sent}}

    def _run(self) -> None:
        until_pass = 0.0
        while not self._stopping.is_set():
            try:
                if until_pass <= 0:
                    self._sent += recovery().run()
                    until_pass = settings.recovery.interval
                else:
                    recovery().release_due()
            except Exception:
                # Whatever it was: nobody else would find what is left behind.
                logger.exception("recovery will try again")
            until_pass -= _DUE_INTERVAL
            self._stopping.wait(_DUE_INTERVAL)


app.steps["worker"].add(RecoveryStep)
