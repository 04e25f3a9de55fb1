"""From a task graph to Celery's words: chain, group and chord.

The rule is local. A run of nodes, each the only one that waits for the node before it and waiting
for nothing else, is a chain. Every other node with dependencies is the body of a chord whose parts
are its dependencies; a part may belong to many chords. Nodes without dependencies are a group.

Invariant: a canvas orders exactly what its graph orders, nothing more. Every node is in one
segment; every dependency is either two neighbours in a segment or a part of a chord.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from celery import chain, chord, group
from celery.canvas import Signature

from workflows.errors import InvalidTask
from workflows.graph import TaskGraph

__all__ = ["Canvas", "compile_graph"]

N = TypeVar("N", bound=Hashable)


@dataclass(frozen=True)
class Canvas(Generic[N]):
    """A compiled graph. `str()` of it is the canvas as one would write it by hand.

    Signatures are made when they are asked for and freshly each time, because Celery writes ids
    into those it sends.
    """

    segments: tuple[tuple[N, ...], ...]
    """Every node once, in runs that are sent as one message; heads stand first."""
    roots: tuple[N, ...]
    """The heads that wait for nothing."""
    chords: dict[N, tuple[N, ...]]
    """Every other head, with the nodes that it waits for."""
    edges: tuple[tuple[N, N], ...]
    """Every dependency once, those inside segments too, as (needed, needs)."""
    signature: Callable[[N], Signature] = field(repr=False, compare=False)
    """Makes the Celery signature of a node; an immutable one where results travel by database."""
    _by_head: dict[N, tuple[N, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_head", {segment[0]: segment for segment in self.segments})

    def segment(self, head: N) -> Signature:
        """Return what is sent when `head` may run: its signature, or a chain beginning with it."""
        nodes = self._by_head[head]
        if len(nodes) == 1:
            return self.signature(head)
        return chain(*(self.signature(node) for node in nodes))

    def chord(self, head: N) -> Signature:
        """Return the chord that releases `head`. Its parts are sent from wherever they stand."""
        parts = [self.signature(part) for part in self.chords[head]]
        return chord(parts, body=self.segment(head))

    def start(self) -> Signature:
        """Return what can run at once: the segments that wait for nothing."""
        return group([self.segment(head) for head in self.roots])

    def __str__(self) -> str:
        lines = [f"group([{_listed(self.start().tasks)}])"]
        for head in self.chords:
            joined = self.chord(head)
            lines.append(f"chord([{_listed(joined.tasks)}], {_written(joined.body)})")
        return "\n".join(lines)


def compile_graph(
    graph: TaskGraph[N],
    signature: Callable[[N], Signature],
    *,
    joins: Collection[N] = (),
    longest_chain: int = 5,
) -> Canvas[N]:
    """Compile any acyclic graph into chains and chords, in linear time.

    A node in `joins` begins a segment even where it could continue one; names that are not in the
    graph are ignored there. No segment is longer than `longest_chain` nodes: a chain sends all of
    its rest with every step. Where a run is cut, the next segment is a chord with a single part.
    """
    if longest_chain < 1:
        raise InvalidTask(f"longest_chain is {longest_chain}: give 1 or more")
    apart = frozenset(joins)
    segments: list[list[N]] = []
    ending: dict[N, list[N]] = {}
    for node in graph.order():
        needed = graph.dependencies(node)
        continues = len(needed) == 1 and len(graph.dependents(needed[0])) == 1
        segment = ending[needed[0]] if continues and node not in apart else []
        if not segment or len(segment) == longest_chain:
            segment = []
            segments.append(segment)
        segment.append(node)
        ending[node] = segment
    heads = [segment[0] for segment in segments]
    return Canvas(
        segments=tuple(tuple(segment) for segment in segments),
        roots=tuple(head for head in heads if not graph.dependencies(head)),
        chords={head: graph.dependencies(head) for head in heads if graph.dependencies(head)},
        edges=graph.edges,
        signature=signature,
    )


def _written(signature: Signature) -> str:
    if signature.task == "celery.chain":
        return f"chain({_listed(signature.tasks)})"
    return repr(signature)


def _listed(signatures: Collection[Signature]) -> str:
    return ", ".join(_written(signature) for signature in signatures)
