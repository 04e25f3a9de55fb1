"""Twenty fixed project graphs: the seconds of each task, and what it needs."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["GRAPHS", "WORKED", "Graph", "Worked"]

Graph = dict[str, tuple[float, list[str]]]


@dataclass(frozen=True)
class Worked:
    """A graph that was worked out by hand: its finish, its critical path, and the slack of each task."""

    graph: Graph
    finish: float
    path: list[str]
    slack: dict[str, float]


#: Worked out with pencil and paper: earliest times forwards, latest times backwards.
WORKED = {
    "one": Worked({"a": (3, [])}, 3, ["a"], {"a": 0}),
    "chain": Worked(
        {"a": (2, []), "b": (3, ["a"]), "c": (4, ["b"])}, 9, ["a", "b", "c"], {"a": 0, "b": 0, "c": 0}
    ),
    "side by side": Worked(
        {"a": (2, []), "b": (7, []), "c": (4, [])}, 7, ["b"], {"a": 5, "b": 0, "c": 3}
    ),
    "diamond": Worked(
        {"a": (1, []), "b": (5, ["a"]), "c": (2, ["a"]), "d": (1, ["b", "c"])},
        7,
        ["a", "b", "d"],
        {"a": 0, "b": 0, "c": 3, "d": 0},
    ),
    "house": Worked(
        {
            "dig": (4, []),
            "walls": (10, ["dig"]),
            "roof": (6, ["walls"]),
            "pipes": (8, ["dig"]),
            "wires": (7, ["walls"]),
            "plaster": (5, ["pipes", "wires", "roof"]),
            "garden": (9, ["dig"]),
            "move": (1, ["plaster", "garden"]),
        },
        27,
        ["dig", "walls", "wires", "plaster", "move"],
        {"dig": 0, "walls": 0, "roof": 1, "pipes": 9, "wires": 0, "plaster": 0, "garden": 13, "move": 0},
    ),
    "milestones": Worked(
        {
            "a": (3, []),
            "first": (0, ["a"]),
            "b": (2, ["first"]),
            "c": (5, ["first"]),
            "second": (0, ["b", "c"]),
        },
        8,
        ["a", "first", "c", "second"],
        {"a": 0, "first": 0, "b": 3, "c": 0, "second": 0},
    ),
}  # fmt: skip


def _layered(seed: int) -> Graph:
    """Return a graph of up to five layers, the same for the same seed."""
    source = random.Random(seed)
    graph: Graph = {}
    layers = [
        [f"{layer}.{n}" for n in range(source.randint(1, 5))]
        for layer in range(source.randint(2, 5))
    ]
    for depth, layer in enumerate(layers):
        earlier = [task for each in layers[:depth] for task in each]
        for task in layer:
            needs = source.sample(earlier, min(len(earlier), source.randint(0, 3)))
            graph[task] = (source.randint(1, 40) / 4, sorted(needs))
    return graph


#: All twenty: those above, and fourteen that were drawn once.
GRAPHS: dict[str, Graph] = {
    **{name: worked.graph for name, worked in WORKED.items()},
    **{f"drawn {seed}": _layered(seed) for seed in range(1, 15)},
}
