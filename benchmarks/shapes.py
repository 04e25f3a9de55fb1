"""Shapes of task graphs that benchmarks run, and the best schedules of them.

Invariant: the standard library alone, since other systems read it in environments of their own.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass
from typing import Any
from uuid import uuid4


@dataclass
class Graph:
    """A graph to run: the seconds that each node sleeps, and the nodes that it needs."""

    seconds: list[float]
    needs: list[list[int]]

    def tasks(self) -> list[dict[str, Any]]:
        """Return it as a client submits it."""
        ids = [str(uuid4()) for _ in self.seconds]
        return [
            {
                "id": ids[node],
                "task": "chore.sleep" if seconds else "chore.echo",
                "args": [seconds or node],
                "dependencies": [ids[needed] for needed in self.needs[node]],
            }
            for node, seconds in enumerate(self.seconds)
        ]

    def critical_path(self) -> float:
        """Return the longest sum of sleeps along dependencies; nodes stand in topological order."""
        ends: list[float] = []
        for node, seconds in enumerate(self.seconds):
            ends.append(seconds + max((ends[needed] for needed in self.needs[node]), default=0.0))
        return max(ends)

    def greedy_schedule(self, slots: int) -> float:
        """Return the makespan of starting whatever is ready first, on so many slots, at no cost."""
        followers: list[list[int]] = [[] for _ in self.seconds]
        unmet = [len(needed) for needed in self.needs]
        for node, needed in enumerate(self.needs):
            for one in needed:
                followers[one].append(node)
        ready = [(0.0, node) for node, count in enumerate(unmet) if count == 0]
        heapq.heapify(ready)
        free = [0.0] * slots
        ends = [0.0] * len(unmet)
        while ready:
            since, node = heapq.heappop(ready)
            ends[node] = max(since, heapq.heappop(free)) + self.seconds[node]
            heapq.heappush(free, ends[node])
            for follower in followers[node]:
                unmet[follower] -= 1
                if unmet[follower] == 0:
                    start = max(ends[needed] for needed in self.needs[follower])
                    heapq.heappush(ready, (start, follower))
        return max(ends)

    def levels(self) -> list[list[int]]:
        """Return the nodes by how many steps lie before them at most."""
        depths: list[int] = []
        for needed in self.needs:
            depths.append(1 + max((depths[one] for one in needed), default=-1))
        found: list[list[int]] = [[] for _ in range(max(depths) + 1)]
        for node, depth in enumerate(depths):
            found[depth].append(node)
        return found

    def barriers(self, slots: int) -> float:
        """Return the makespan where each level waits for the whole level before it."""
        return sum(
            Graph([self.seconds[node] for node in level], [[] for _ in level]).greedy_schedule(
                slots
            )
            for level in self.levels()
        )

    def with_barriers(self) -> Graph:
        """Return the graph in which each level needs the whole level before it, numbered by levels."""
        seconds: list[float] = []
        needs: list[list[int]] = []
        before: list[int] = []
        for level in self.levels():
            places = list(range(len(seconds), len(seconds) + len(level)))
            seconds += [self.seconds[node] for node in level]
            needs += [before for _ in level]
            before = places
        return Graph(seconds, needs)

    def value(self) -> int:
        """Return the sum over the last nodes, where a node is worth 1 and what it needs."""
        worth: list[int] = []
        for needed in self.needs:
            worth.append(1 + sum(worth[one] for one in needed))
        inner = {one for needed in self.needs for one in needed}
        return sum(each for node, each in enumerate(worth) if node not in inner)


def random_graph(chance: random.Random) -> Graph:
    """Return up to 200 nodes, each with up to four dependencies among those shortly before it."""
    count = chance.randint(100, 200)
    needs: list[list[int]] = []
    for node in range(count):
        near = range(max(0, node - 40), node)
        needs.append(sorted(chance.sample(near, min(len(near), chance.randint(0, 4)))))
    return Graph([chance.uniform(0.05, 0.5) for _ in range(count)], needs)


def lane_graph(chance: random.Random) -> Graph:
    """Return six lanes of uneven steps with a few links across: what barriers are worst at."""
    lanes, stages = 6, 12
    seconds, needs = [], []
    for stage in range(stages):
        for lane in range(lanes):
            seconds.append(min(0.5, max(0.05, chance.lognormvariate(-2.0, 0.9))))
            before = [(stage - 1) * lanes + lane] if stage else []
            if stage and chance.random() < 0.1:
                before.append((stage - 1) * lanes + chance.randrange(lanes))
            needs.append(sorted(set(before)))
    return Graph(seconds, needs)


def layered_graph(layers: int, width: int) -> Graph:
    """Return layers of tasks that do nothing, each needing three of the layer before."""
    needs = [
        [(layer - 1) * width + (place + step) % width for step in range(3)] if layer else []
        for layer in range(layers)
        for place in range(width)
    ]
    return Graph([0.0] * (layers * width), needs)


def chain_graph(length: int) -> Graph:
    """Return tasks that do nothing, one after the other."""
    return Graph([0.0] * length, [[node - 1] if node else [] for node in range(length)])


def fan_graph(width: int) -> Graph:
    """Return one source, so many after it, and one that needs them all; nothing of it does a thing."""
    parts = list(range(1, width + 1))
    return Graph([0.0] * (width + 2), [[], *([0] for _ in parts), parts])


def stretched(graph: Graph, factor: float) -> Graph:
    """Return the same graph with longer sleeps."""
    return Graph([seconds * factor for seconds in graph.seconds], graph.needs)


def slept(graph: Graph, chance: random.Random) -> Graph:
    """Return the same graph with sleeps of 10 to 200 ms."""
    return Graph([round(chance.uniform(0.01, 0.2), 4) for _ in graph.seconds], graph.needs)
