"""Celery alone: the reference of the comparison, and its other ways.

`FIELD_STYLE` says how work is written: ``hand``, where each task sends the next one and messages stay
small, as one writes for speed; or ``canvas``, where chains and chords are written as the manual shows.
`FIELD_RESULTS` is the result backend's URL.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from celery import Celery, chain, chord, group

from benchmarks.field.side import BROKER, answer, program
from benchmarks.field.workloads import SLOTS
from benchmarks.shapes import Graph

app = Celery("raw", broker=BROKER, backend=os.environ.get("FIELD_RESULTS"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_expires=3600,
    # As quick as the stock database backend can be asked to look.
    result_chord_retry_interval=0.1,
)

Levels = Sequence[Sequence[float]]
"""The seconds that each task of each level sleeps."""


@app.task(name="step")
def step(given: int, seconds: float = 0.0) -> int:
    """Do nothing, or sleep."""
    if seconds:
        time.sleep(seconds)
    return 1 + given


@app.task(name="total")
def total(values: Sequence[int]) -> int:
    """Bring a level together."""
    return sum(values)


@app.task(name="last")
def last(values: Sequence[int]) -> int:
    """Bring a level together in a task of its own worth."""
    return 1 + sum(values)


@app.task(name="walk")
def walk(given: int, left: int, final: str) -> int:
    """Be a step of a chain, and send the next one."""
    if left:
        walk.apply_async((given + 1, left - 1, final), task_id=final if left == 1 else None)
    return given + 1


@app.task(name="spread")
def spread(given: int, level: Sequence[float], final: str) -> int:
    """Be the source of a fan, and send the rest of it."""
    value = given + 1
    chord([step.s(value, seconds) for seconds in level], last.s().set(task_id=final)).apply_async()
    return value


@app.task(name="descend")
def descend(values: Sequence[int], levels: Levels, final: str) -> int:
    """Bring a level together, and send the next one."""
    given = sum(values)
    level, rest = levels[0], levels[1:]
    body = descend.s(rest, final) if rest else total.s().set(task_id=final)
    chord([step.s(given, seconds) for seconds in level], body).apply_async()
    return given


def seconds_of(graph: Graph) -> list[list[float]]:
    """Return the sleeps of a graph, level by level."""
    return [[graph.seconds[node] for node in level] for level in graph.levels()]


def by_hand(graph: Graph) -> Any:
    """Send a graph so that each message is small; return what to wait for."""
    final = uuid4().hex
    levels = seconds_of(graph)
    widths = [len(level) for level in levels]
    if max(widths) == 1:
        walk.apply_async((0, len(widths) - 1, final), task_id=final if len(widths) == 1 else None)
    elif len(widths) == 3 and widths[0] == widths[2] == 1:
        spread.delay(0, levels[1], final)
    else:
        descend.delay([0], levels, final)
    return app.AsyncResult(final)


def by_canvas(graph: Graph) -> Any:
    """Send a graph as one canvas; return what to wait for."""
    levels = seconds_of(graph)
    widths = [len(level) for level in levels]
    if max(widths) == 1:
        return chain(step.s(0), *(step.s() for _ in widths[1:])).apply_async()
    if len(widths) == 3 and widths[0] == widths[2] == 1:
        return chain(
            step.s(0), group(step.s(seconds) for seconds in levels[1]), last.s()
        ).apply_async()
    parts: list[Any] = []
    for number, level in enumerate(levels):
        given = () if number else (0,)
        parts += [group([step.s(*given, seconds=seconds) for seconds in level]), total.s()]
    return chain(*parts).apply_async()


def main() -> None:
    """Be a side."""
    send = by_canvas if os.environ.get("FIELD_STYLE") == "canvas" else by_hand
    worker = [sys.executable, "-m", "celery", "-A", "benchmarks.field.raw_celery", "worker"]
    worker += ["-P", os.environ.get("FIELD_POOL", "threads"), "-c", str(SLOTS)]
    worker += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with program(worker, " ready."):
        answer(lambda graph: float(send(graph).get(timeout=600)))


if __name__ == "__main__":
    main()
