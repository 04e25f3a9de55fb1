"""How a side of the comparison answers: it runs a workload, and tells the seconds and what came out.

Invariants
  * The standard library alone: each side lives in an environment of its own.
  * The clock runs from handing the graph in to having its result in the caller's hands.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from benchmarks.field.workloads import WARM_UP, WORKLOADS
from benchmarks.shapes import Graph
from benchmarks.sides import Costs, serve
from benchmarks.waiting import wait_for_words

__all__ = ["BROKER", "DATABASE", "FOLDER", "answer", "plain_broker", "plain_database", "program"]

BROKER = os.environ.get("FIELD_BROKER", "")
"""URL of a Redis database of the side's own."""
DATABASE = os.environ.get("FIELD_DATABASE", "")
"""SQLAlchemy's URL of a Postgres database of the side's own."""
FOLDER = Path(os.environ.get("FIELD_FOLDER", "."))
"""A folder of the side's own, for logs and the like."""


def plain_broker() -> str:
    """Return the broker's URL as redis-py reads it, instead of kombu.

    By itself redis-py gives up after five seconds, also on whoever waits for a result.
    """
    parts = urlsplit(BROKER)
    return f"unix://{parts.path}?db={parse_qs(parts.query)['virtual_host'][0]}&socket_timeout=660"


def plain_database() -> str:
    """Return the database's URL as libpq reads it, instead of SQLAlchemy."""
    return DATABASE.replace("postgresql+psycopg2://", "postgresql://", 1)


def answer(run: Callable[[Graph], float], after: Callable[[Graph], None] | None = None) -> None:
    """Be a side, until the asker ends.

    Args:
        run: Runs a graph and returns what came out, which the asker knows and compares.
        after: Looks at what was kept of the last run, outside the clock; fails where it is wrong.
    """

    def work(name: str) -> Costs:
        workload, took, value = WORKLOADS[name], [], 0.0
        for _ in range(workload.repeats):
            begun = time.perf_counter()
            value = run(workload.graph)
            took.append(time.perf_counter() - begun)
        if after is not None:
            after(workload.graph)
        return statistics.median(took), value

    serve(WARM_UP, work)


@contextmanager
def program(
    command: Sequence[str], ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Run a program of the side's, such as a worker, once its log says that it is ready.

    Gives the path of the log.
    """
    log = FOLDER / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        wait_for_words(process, log, ready, 120)
        yield log
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
