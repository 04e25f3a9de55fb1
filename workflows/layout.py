"""Places for boxes and arrows: layers, each box below those that lead to it.

Invariants
  * No two boxes touch, and no arrow leads through a box: it crosses a layer straight down, in a lane of
    its own, and bends only between layers.
  * The same boxes and arrows get the same places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import DummyVertex, SugiyamaLayout

__all__ = ["Arrow", "Lane", "Layout", "lay_out"]

Arrow = tuple[str, str]

_ASIDE = 28.0
_BELOW = 48.0
_LANE = 4.0
_ROUNDS = 4
#: Parts that do not hang together stand side by side up to this width, then below each other.
_WIDEST = 1600.0


class Lane(NamedTuple):
    """A piece of an arrow that leads straight down."""

    x: float
    top: float
    bottom: float


@dataclass
class Layout:
    """How large the whole is, the middle of each box, and the lanes of each arrow from top to bottom."""

    width: float = 0.0
    height: float = 0.0
    middles: dict[str, tuple[float, float]] = field(default_factory=dict)
    ways: dict[Arrow, list[Lane]] = field(default_factory=dict)

    def take(self, part: Layout, left: float, top: float) -> None:
        """Put a part there."""
        self.width = max(self.width, left + part.width)
        self.height = max(self.height, top + part.height)
        for name, (x, y) in part.middles.items():
            self.middles[name] = (left + x, top + y)
        for arrow, lanes in part.ways.items():
            self.ways[arrow] = [
                Lane(left + lane.x, top + lane.top, top + lane.bottom) for lane in lanes
            ]


class _Size:
    """A box as grandalf looks at it."""

    def __init__(self, width: float, height: float) -> None:
        self.w, self.h = width, height
        self.xy = (0.0, 0.0)


def lay_out(sizes: Mapping[str, tuple[float, float]], arrows: Sequence[Arrow]) -> Layout:
    """Return places for boxes of those widths and heights; the arrows make no circle."""
    vertices = {name: Vertex(name) for name in sizes}
    for name, vertex in vertices.items():
        vertex.view = _Size(*sizes[name])
    edges = [Edge(vertices[above], vertices[below]) for above, below in arrows]
    parts = Graph(list(vertices.values()), edges).C
    return _side_by_side(_layers(part) for part in parts)


def _side_by_side(parts: Iterable[Layout]) -> Layout:
    whole = Layout()
    left = top = 0.0
    for part in parts:
        if left and left + part.width > _WIDEST:
            left, top = 0.0, whole.height + _BELOW
        whole.take(part, left, top)
        left += part.width + _ASIDE
    return whole


def _layers(part: Any) -> Layout:
    """Lay out what hangs together."""
    found = SugiyamaLayout(part)
    found.xspace = _ASIDE
    found.init_all(inverted_edges=[])
    passing = [vertex for layer in found.layers for vertex in layer if _passes(vertex)]
    for lane in passing:
        # It would have the width of a box.
        lane.view.w = _LANE
    found.draw(_ROUNDS)
    spread = [_spread(layer) for layer in found.layers]
    left = min(x - vertex.view.w / 2 for xs in spread for vertex, x in xs.items())
    layout = Layout()
    columns: dict[Any, Lane] = {}
    top = 0.0
    for xs in spread:
        bottom = top + max(vertex.view.h for vertex in xs if not _passes(vertex))
        for vertex, x in xs.items():
            columns[vertex] = Lane(x - left, top, bottom)
            layout.width = max(layout.width, x - left + vertex.view.w / 2)
            if not _passes(vertex):
                layout.middles[vertex.data] = (x - left, (top + bottom) / 2)
        layout.height, top = bottom, bottom + _BELOW
    for edge in part.sE:
        layout.ways[edge.v[0].data, edge.v[1].data] = _way(edge, found.ctrls.get(edge), columns)
    return layout


def _passes(vertex: Any) -> bool:
    return isinstance(vertex, DummyVertex)


def _spread(layer: Iterable[Any]) -> dict[Any, float]:
    """Return where each vertex of a layer stands; what grandalf lets touch is moved apart."""
    xs: dict[Any, float] = {}
    free = float("-inf")
    for vertex in layer:
        half = vertex.view.w / 2
        xs[vertex] = max(vertex.view.xy[0], free + half)
        free = xs[vertex] + half + _ASIDE
    return xs


def _way(edge: Any, stops: Mapping[int, Any] | None, columns: Mapping[Any, Lane]) -> list[Lane]:
    above, below = edge.v
    between = [] if stops is None else [stops[rank] for rank in sorted(stops)][1:-1]
    begin, end = columns[above], columns[below]
    middle = (begin.top + begin.bottom) / 2
    first = Lane(begin.x, middle + above.view.h / 2, begin.bottom)
    last = Lane(end.x, end.top, (end.top + end.bottom) / 2 - below.view.h / 2)
    return [first, *(columns[vertex] for vertex in between), last]
