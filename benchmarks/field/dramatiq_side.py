"""Dramatiq: groups with a callback that brings their results together."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as Counters
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.field.side import answer, plain_broker, program
from benchmarks.field.workloads import SLOTS
from benchmarks.shapes import Graph

results = RedisBackend(url=plain_broker())
broker = RedisBroker(url=plain_broker())
broker.add_middleware(Results(backend=results))
broker.add_middleware(GroupCallbacks(Counters(url=plain_broker())))
dramatiq.set_broker(broker)

Levels = Sequence[Sequence[float]]
"""The seconds that each task of each level sleeps."""


@dramatiq.actor(store_results=True)
def step(given: int, seconds: float) -> int:
    """Do nothing, or sleep."""
    if seconds:
        time.sleep(seconds)
    return 1 + given


@dramatiq.actor(store_results=True)
def bring_together(parts: list[dict[str, Any]], levels: Levels, final: str) -> int:
    """Read the results of a level, and send the next one."""
    given = sum(int(results.get_result(dramatiq.Message(**part))) for part in parts)
    if levels:
        descend(given, levels, final)
    return given


def descend(given: int, levels: Levels, final: str) -> None:
    """Send a level with what brings it together."""
    parts = [step.message(given, seconds) for seconds in levels[0]]
    rest = levels[1:]
    named = [{**part.asdict(), "kwargs": {}} for part in parts]
    body = bring_together.message(named, rest, final)
    if not rest:
        body = body.copy(message_id=final)
    group = dramatiq.group(parts)
    group.add_completion_callback(body)
    group.run()


def run(graph: Graph) -> float:
    """Run a graph: a pipeline where it is a chain, otherwise level by level."""
    levels = [[graph.seconds[node] for node in level] for level in graph.levels()]
    if max(map(len, levels)) == 1:
        steps = [walk.message(0), *(walk.message() for _ in levels[1:])]
        pipeline = dramatiq.pipeline(steps).run()
        return float(pipeline.get_result(block=True, timeout=600_000))
    final = bring_together.message([], [], "")
    descend(0, levels, final.message_id)
    return float(results.get_result(final, block=True, timeout=600_000))


@dramatiq.actor(store_results=True)
def walk(given: int) -> int:
    """Be a step of a chain."""
    return 1 + given


def main() -> None:
    """Be a side."""
    worker = [str(Path(sys.executable).parent / "dramatiq"), "benchmarks.field.dramatiq_side"]
    worker += ["--processes", "1", "--threads", str(SLOTS)]
    with program(worker, "ready for action"):
        answer(run)


if __name__ == "__main__":
    main()
