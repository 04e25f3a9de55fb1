"""A plain Celery project, as anybody's: nothing of this system but, for one column, its result backend.

The environment says which: BENCH_BROKER, BENCH_BACKEND, BENCH_NAME.
"""

from __future__ import annotations

import os
import time

from celery import Celery

app = Celery(
    "plain",
    broker=os.environ["BENCH_BROKER"],
    backend=os.environ["BENCH_BACKEND"],
)
app.conf.update(
    task_default_queue=f"bench-{os.environ['BENCH_NAME']}",
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=4,
    # As quick as the stock database backend can be asked to look.
    result_chord_retry_interval=0.1,
)


@app.task
def nothing() -> None:
    """Do nothing."""


@app.task
def nap(seconds: float) -> float:
    """Sleep; tell when it was over."""
    time.sleep(seconds)
    return time.time()


@app.task
def stamp(*_: object) -> float:
    """Tell the time."""
    return time.time()


@app.task
def wait_since(times: list[float]) -> float:
    """Tell how long ago the last of some moments was."""
    return time.time() - max(times)


@app.task
def latest(times: list[float]) -> float:
    """Return the last of some moments."""
    return max(times)
