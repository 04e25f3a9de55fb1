"""DBOS: a workflow of steps in one process, or of workflows that go through a queue.

`FIELD_STYLE` says which: ``steps`` or ``queue``.
"""

from __future__ import annotations

import asyncio
import os
import time

from dbos import DBOS

from benchmarks.field.side import answer, plain_database
from benchmarks.field.workloads import SLOTS
from benchmarks.shapes import Graph

QUEUE = "field"
slots: asyncio.Semaphore


@DBOS.step()
async def step(given: int, seconds: float) -> int:
    """Do nothing, or sleep in one of the slots."""
    if seconds:
        async with slots:
            await asyncio.sleep(seconds)
    return 1 + given


@DBOS.workflow()
async def in_steps(seconds: list[float], needs: list[list[int]]) -> int:
    """Run a graph level by level: steps of one level at once, begun in one order."""
    graph = Graph(seconds, needs)
    worth = [0] * len(seconds)
    for level in graph.levels():
        begun = [step(sum(worth[one] for one in needs[node]), seconds[node]) for node in level]
        for node, value in zip(level, await asyncio.gather(*begun), strict=True):
            worth[node] = value
    return outcome(graph, worth)


@DBOS.workflow()
def part(given: int, seconds: float) -> int:
    """Do nothing, or sleep."""
    if seconds:
        time.sleep(seconds)
    return 1 + given


@DBOS.workflow()
def in_queue(seconds: list[float], needs: list[list[int]]) -> int:
    """Run a graph level by level: each node a workflow of its own from the queue."""
    graph = Graph(seconds, needs)
    worth = [0] * len(seconds)
    for level in graph.levels():
        handles = [
            DBOS.enqueue_workflow(
                QUEUE, part, sum(worth[one] for one in needs[node]), seconds[node]
            )
            for node in level
        ]
        for node, handle in zip(level, handles, strict=True):
            worth[node] = handle.get_result(polling_interval_sec=0.01)
    return outcome(graph, worth)


def outcome(graph: Graph, worth: list[int]) -> int:
    """Return the sum over the last nodes."""
    inner = {one for needed in graph.needs for one in needed}
    return sum(each for node, each in enumerate(worth) if node not in inner)


async def run_in_steps(graph: Graph) -> int:
    """Run a graph as steps of one workflow."""
    global slots
    slots = asyncio.Semaphore(SLOTS)
    handle = await DBOS.start_workflow_async(in_steps, graph.seconds, graph.needs)
    return int(await handle.get_result())


def main() -> None:
    """Be a side."""
    DBOS(
        config={
            "name": "field",
            "system_database_url": plain_database(),
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    if os.environ["FIELD_STYLE"] == "queue":
        DBOS.register_queue(QUEUE, worker_concurrency=SLOTS, polling_interval_sec=0.01)

        def run(graph: Graph) -> float:
            handle = DBOS.start_workflow(in_queue, graph.seconds, graph.needs)
            return float(handle.get_result(polling_interval_sec=0.01))

        answer(run)
    else:
        with asyncio.Runner() as runner:
            answer(lambda graph: float(runner.run(run_in_steps(graph))))
    DBOS.destroy()


if __name__ == "__main__":
    main()
