"""The end of a worker: what it does not finish in time goes to the others at once.

Invariants
  * SIGTERM and SIGQUIT both give running tasks the setting `worker.soft_shutdown_timeout`. Then the
    steps of graphs are put back and told to stop, in any pool; whoever does not listen runs on, and
    is fenced out.
  * What is handed back has lost no try, and its recorded model answers are replayed.
  * Nobody waits long for the database here: without it leases run out, as after a crash.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import bootsteps

from celery_app.celery import app, database, queue, settings
from celery_app.store.execution import ExecutionStore
from celery_app.worker.leases import OWNER

logger = logging.getLogger(__name__)

#: Longest wait in a signal handler, in seconds.
_PATIENCE = 5.0
#: Seconds before a database that is away is tried again.
_PAUSE = 1.0


def hand_back() -> bool:
    """Give what this worker runs now to the others; return whether that is done.

    Callable from a signal handler: the locks that are needed may be held by what it interrupted.
    """
    done = threading.Event()
    # No daemon, whoever calls: the process may not end between handing back and sending.
    thread = threading.Thread(target=_hand_back, args=(done,), name="hand-back", daemon=False)
    thread.start()
    thread.join(_PATIENCE)
    return done.is_set()


def _hand_back(done: threading.Event) -> None:
    executions = ExecutionStore(database.impatient())
    try:
        if handed := executions.hand_back(OWNER):
            logger.warning("%s tasks go to other workers: %s", len(handed), ", ".join(handed))
            queue.publish(executions.release_all())
        done.set()
    except Exception:
        # Whatever it was: the worker is to end.
        logger.exception("tasks could not be handed back; at the latest their leases will run out")


class EndingStep(bootsteps.StartStopStep):
    """Worker bootstep: a warm shutdown ends as well (a cold one hands back by the consumer)."""

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def close(self, worker: Any) -> None:
        """Begin to count; the pool is about to wait for its tasks for as long as they take."""
        threading.Thread(target=self._run, name="ending", daemon=True).start()

    def _run(self) -> None:
        time.sleep(settings.worker.soft_shutdown_timeout)
        while not hand_back():
            time.sleep(_PAUSE)


app.steps["worker"].add(EndingStep)
