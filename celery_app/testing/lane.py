"""A process that runs one case: a worker of the case's own servers, and the case as a task in it.

    python -m celery_app.testing.lane < order.json

Invariant: the order comes in by standard input, what came of it goes out by standard output as one line
of JSON, and nothing else does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, TextIO

from celery import signals
from celery.result import allow_join_result
from kombu import Queue

__all__ = ["QUEUE", "main"]

QUEUE = "test.case"


def main() -> None:
    """Run the case that is ordered."""
    order = json.load(sys.stdin)
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # At the end of the path, so that a folder of the user's cannot hide one of our packages.
    sys.path.append(os.getcwd())
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


if __name__ == "__main__":
    main()
