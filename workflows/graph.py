"""`TaskGraph`: who waits for whom. It knows nothing about tasks: any hashable name is a node.

Invariant: a graph that was made has no circle and no dependency outside itself, and nothing can
change it. Every method takes time linear in nodes and edges, and every order it gives follows from
the order in which nodes and dependencies were given.
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from workflows.errors import CycleError, InvalidTask, UnknownDependency

__all__ = ["TaskGraph"]

N = TypeVar("N", bound=Hashable)


class TaskGraph(Generic[N]):
    """An acyclic graph, given as what each node depends on.

    A dependency named twice counts once. Raises `UnknownDependency` when a node depends on
    something that is no node, and `CycleError`, naming the circle, when nodes wait for each other.
    """

    def __init__(self, dependencies: Mapping[N, Sequence[N]]) -> None:
        self._dependencies = {n: tuple(dict.fromkeys(deps)) for n, deps in dependencies.items()}
        dependents: dict[N, list[N]] = {node: [] for node in self._dependencies}
        for node, needed in self._dependencies.items():
            for dependency in needed:
                if dependency not in dependents:
                    raise UnknownDependency(
                        f"{node} depends on {dependency}, which is not in the graph: "
                        "add it or drop the dependency"
                    )
                dependents[dependency].append(node)
        self._dependents = {node: tuple(after) for node, after in dependents.items()}
        self._order = _sorted(self._dependencies)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[N]:
        return iter(self._dependencies)

    def __contains__(self, node: object) -> bool:
        return node in self._dependencies

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskGraph):
            return NotImplemented
        return self._dependencies == other._dependencies

    def __hash__(self) -> int:
        return hash(frozenset(self._dependencies.items()))

    def __repr__(self) -> str:
        return f"TaskGraph({ {node: list(deps) for node, deps in self._dependencies.items()} })"

    @property
    def roots(self) -> tuple[N, ...]:
        """The nodes that depend on nothing."""
        return tuple(node for node in self._order if not self._dependencies[node])

    @property
    def sinks(self) -> tuple[N, ...]:
        """The nodes that nothing depends on."""
        return tuple(node for node in self._order if not self._dependents[node])

    @property
    def edges(self) -> tuple[tuple[N, N], ...]:
        """Every dependency once, as (what is needed, what needs it)."""
        return tuple((needed, node) for node in self._order for needed in self._dependencies[node])

    def dependencies(self, node: N) -> tuple[N, ...]:
        """Return what `node` waits for, in the order given."""
        return self._dependencies[node]

    def dependents(self, node: N) -> tuple[N, ...]:
        """Return what waits for `node`."""
        return self._dependents[node]

    def order(self) -> tuple[N, ...]:
        """Return all nodes, each after everything it depends on."""
        return self._order

    def levels(self) -> tuple[tuple[N, ...], ...]:
        """Return the nodes by the length of the longest way to them; level 0 are the roots."""
        depth: dict[N, int] = {}
        levels: list[list[N]] = []
        for node in self._order:
            depth[node] = 1 + max((depth[n] for n in self._dependencies[node]), default=-1)
            if depth[node] == len(levels):
                levels.append([])
            levels[depth[node]].append(node)
        return tuple(tuple(level) for level in levels)

    def finish_times(self, seconds: Mapping[N, float]) -> dict[N, float]:
        """Return when each node is done at the earliest, however many workers there are.

        Raises `InvalidTask` unless every node has a duration of 0 seconds or more.
        """
        finish: dict[N, float] = {}
        for node in self._order:
            took = seconds.get(node)
            if took is None or not took >= 0:
                raise InvalidTask(f"{node} takes {took} seconds: give a number of 0 or more")
            finish[node] = took + max((finish[n] for n in self._dependencies[node]), default=0.0)
        return finish

    def critical_path(
        self, seconds: Mapping[N, float], *, to: N | None = None
    ) -> tuple[list[N], float]:
        """Return the way through the graph that takes longest, and its seconds; or that to one node.

        The graph cannot finish sooner. Raises as `finish_times` does.
        """
        finish = self.finish_times(seconds)
        if not finish:
            return [], 0.0
        path = [max(finish, key=finish.__getitem__) if to is None else to]
        while needed := self._dependencies[path[-1]]:
            path.append(max(needed, key=finish.__getitem__))
        return path[::-1], finish[path[0]]

    def unfinished(self, done: Collection[N]) -> TaskGraph[N]:
        """Return the graph without the nodes in `done` and without the edges from them."""
        gone = frozenset(done)
        return TaskGraph(
            {
                node: [needed for needed in deps if needed not in gone]
                for node, deps in self._dependencies.items()
                if node not in gone
            }
        )


def _sorted(dependencies: Mapping[N, Sequence[N]]) -> tuple[N, ...]:
    try:
        return tuple(graphlib.TopologicalSorter(dependencies).static_order())
    except graphlib.CycleError as error:
        # graphlib names a circle from what is needed to what needs it; people say it the other way.
        circle = " -> ".join(str(node) for node in reversed(error.args[1]))
    raise CycleError(f"the dependencies run in a circle, {circle}: drop one of them")
