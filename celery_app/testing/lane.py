"""The process of one case: a worker of the case's own servers, and the case as a task in it.

Invariant: one line of JSON is told, what came of the case, and nothing after it.
"""

from __future__ import annotations

import json
import threading
from typing import Any, TextIO

from celery import signals
from celery.result import allow_join_result
from kombu import Queue

__all__ = ["QUEUE", "run"]

QUEUE = "test.case"


def run(order: dict[str, Any], told: TextIO) -> None:
    """Run the case that is ordered, in this process, which is good for nothing else after it."""
    from celery_app.celery import app

    served = [QUEUE] if order["apart"] else [QUEUE, *(each.name for each in app.conf.task_queues)]
    app.conf.update(
        task_queues=[Queue(QUEUE), *app.conf.task_queues],
        include=[*app.conf.include, "celery_app.testing.work"],
    )

    def begin(**_: Any) -> None:
        threading.Thread(target=_drive, args=(order, told), daemon=True).start()

    signals.worker_ready.connect(begin)
    app.worker_main(
        ["worker", "-n", "lane@%h", "-l", "INFO", "-P", "threads", "-c", "16", "-Q", ",".join(served),
         "--without-mingle", "--without-gossip"]
    )  # fmt: skip


def _drive(order: dict[str, Any], told: TextIO) -> None:
    from celery_app.testing.work import case

    # One switch for the whole process: the case waits for other tasks, which the pool has room for.
    with allow_join_result():
        outcome = case.apply_async([order["case"], order["about"]], queue=QUEUE).get()
    told.write(json.dumps(outcome) + "\n")
    told.flush()
