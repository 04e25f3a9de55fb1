"""What every side of the comparison runs, by name.

Invariant: the standard library alone. A name means the same graph wherever and whenever it is run.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.shapes import Graph, chain_graph, fan_graph, layered_graph, slept, stretched

__all__ = ["CORE", "FULL", "SLOTS", "SMALL", "WARM_UP", "WORKLOADS", "Workload"]

#: Tasks that each side runs at once.
SLOTS = 8


@dataclass(frozen=True)
class Workload:
    """A graph, and how often it is run for one figure (of which the median counts)."""

    title: str
    graph: Graph
    repeats: int = 1


def _layered(side: int) -> Graph:
    return layered_graph(side, side)


def _fan_of_sleeps(width: int) -> Graph:
    """A fan whose parts sleep; its ends do nothing."""
    parts = slept(fan_graph(width), random.Random(4)).seconds[1:-1]
    return Graph([0.0, *parts, 0.0], fan_graph(width).needs)


WORKLOADS = {
    "fan-100": Workload("fan-out and fan-in, 100", fan_graph(100)),
    "fan-1000": Workload("fan-out and fan-in, 1000", fan_graph(1000)),
    "chain-40": Workload("chain of 40", chain_graph(40)),
    "chain-100": Workload("chain of 100", chain_graph(100)),
    "layered": Workload("10 layers of 10, three needs", _layered(10)),
    "sleeps": Workload("the same, 10 to 200 ms each", slept(_layered(10), random.Random(4))),
    "sleeps-long": Workload(
        "the same, 50 ms to 1 s each", stretched(slept(_layered(10), random.Random(4)), 5)
    ),
    "fan-sleeps": Workload("fan-out of 100, 10 to 200 ms each", _fan_of_sleeps(100)),
    "latency": Workload("one task", chain_graph(1), repeats=20),
    "fan-20": Workload("fan-out and fan-in, 20", fan_graph(20)),
    "chain-10": Workload("chain of 10", chain_graph(10)),
    "layered-4": Workload("4 layers of 4, three needs", _layered(4)),
    "fan-sleeps-8": Workload("fan-out of 8, 10 to 200 ms each", _fan_of_sleeps(8)),
    "sleeps-4": Workload("the same, 10 to 200 ms each", slept(_layered(4), random.Random(4))),
}
CORE = ("fan-100", "chain-40", "chain-100", "layered", "sleeps", "latency")
#: The largest is the last one: some are busy with it long after they have answered.
FULL = (*CORE, "fan-sleeps", "sleeps-long", "fan-1000")
SMALL = ("fan-20", "chain-10", "layered-4", "sleeps-4", "fan-sleeps-8", "latency")
WARM_UP = ("fan-20", "chain-10", "layered-4", "latency")
