"""Find work that somebody died over, and send it again.

Everything here is safe to do twice and by anyone: a duplicate message meets its claim. One process
does it at a time (advisory lock): a thread of any worker or of beat, at its start and every few seconds.

What it finds: leases that ran out, tasks that became ready in a commit whose author died before
publishing, retries that are due, and messages that the broker forgot. (The chords of ordinary Celery
tasks have the result backend's own bootstep.) The same thread seals the journals
from time to time, and removes contents that no artifact has.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

from celery import bootsteps, signals
from sqlalchemy import text

from celery_app.celery import (
    app,
    approvals,
    artifacts,
    database,
    executions,
    queue,
    runs,
    settings,
    vault,
)
from celery_app.orchestrator.audit import Keeper
from celery_app.orchestrator.deadlines import Deadlines
from celery_app.orchestrator.project_deadlines import ProjectDeadlines
from celery_app.postgres.connection import Database
from celery_app.queues import PriorityQueue
from celery_app.security.signer import Signer
from celery_app.store.approvals import ApprovalStore
from celery_app.store.audit import AuditStore
from celery_app.store.execution import ExecutionStore
from celery_app.store.runs import RunStore

logger = logging.getLogger(__name__)

_LOCK = 0x41475243
#: Seconds between looks for retries that are due.
_DUE_INTERVAL = 1.0
#: Seconds between looks for what was kept in vain.
_SWEEP_INTERVAL = 3600.0


@dataclass
class Recovery:
    """One pass over everything that may have been left behind.

    Args:
        database: Holds the lock that makes passes exclusive.
        executions: The graph's rows.
        runs: Runs of workflows, whose steps have their time.
        approvals: Their questions, which have theirs.
        queue: Where things are sent again.
        deadlines: Tells which of them will be missed.
        project_deadlines: Tells so of the deadlines of projects.
        grace: Seconds after which something that should have moved is taken to be lost.
        poison_limit: A task whose worker vanished so often is taken to be what kills workers.
    """

    database: Database
    executions: ExecutionStore
    runs: RunStore
    approvals: ApprovalStore
    queue: PriorityQueue
    deadlines: Deadlines
    project_deadlines: ProjectDeadlines
    grace: float
    poison_limit: int

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
        self.queue.publish(self.approvals.end_unanswered())
        self.queue.publish(self.runs.end_expired())
        found = self.executions.release_all()
        self.queue.publish(found)
        return len(found)

    def _pass(self) -> int:
        for claim in self.executions.requeue_expired(self.poison_limit):
            message = (
                f"its worker vanished {self.poison_limit} times while it ran; it is not tried again"
            )
            logger.error("task %s: %s", claim.id, message)
            error = {"type": "PoisonTask", "message": message}
            self.queue.publish(self.executions.finish(claim, "failed", error=error))
        self._find_forgotten()
        self.deadlines.look()
        self.project_deadlines.look()
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
_project_deadlines = ProjectDeadlines(database)
_keeper = Keeper(AuditStore(database), Signer(vault.ring))


def recovery() -> Recovery:
    """Return the recovery of the app as it is configured."""
    configured = settings.recovery
    return Recovery(
        database,
        executions,
        runs,
        approvals,
        queue,
        _deadlines,
        _project_deadlines,
        configured.grace,
        configured.poison_limit,
    )


def _audit() -> float:
    """Seal some of the journals, and cut what is old; return after how many seconds to go on."""
    configured = settings.security.audit
    more = _keeper.look(configured.interval, configured.retention_days)
    return 0.0 if more else configured.interval


class RecoveryThread(threading.Thread):
    """Pass after pass, and between them looks for what is due, until it is told to stop.

    Attributes:
        sent: How many tasks were sent again.
    """

    def __init__(self) -> None:
        super().__init__(name="recovery", daemon=True)
        self.sent = 0
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the pass that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Begin with a pass at once: whatever the last worker left is picked up now."""
        until_pass = 0.0
        until_audit = 0.0
        until_sweep = 0.0
        while not self._stopping.is_set():
            try:
                if until_pass <= 0:
                    self.sent += recovery().run()
                    until_pass = settings.recovery.interval
                else:
                    recovery().release_due()
                if until_audit <= 0:
                    until_audit = settings.security.audit.interval
                    until_audit = _audit()
                if until_sweep <= 0:
                    until_sweep = _SWEEP_INTERVAL
                    artifacts.sweep()
            except Exception:
                # Whatever it was: nobody else would find what is left behind.
                logger.exception("recovery will try again")
            until_pass -= _DUE_INTERVAL
            until_audit -= _DUE_INTERVAL
            until_sweep -= _DUE_INTERVAL
            self._stopping.wait(_DUE_INTERVAL)


class RecoveryStep(bootsteps.StartStopStep):
    """Worker bootstep: recovery in a thread of every worker's main process."""

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.enabled = settings.recovery.enabled
        self._thread = RecoveryThread()

    def start(self, worker: Any) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """End soon."""
        self._thread.stop()

    def info(self, worker: Any) -> dict[str, Any]:
        """What `inspect stats` and Flower show."""
        return {"recovery": {"sent_again": self._thread.sent}}


app.steps["worker"].add(RecoveryStep)


@signals.beat_init.connect
def _with_beat(**_: Any) -> None:
    if settings.recovery.enabled:
        RecoveryThread().start()
