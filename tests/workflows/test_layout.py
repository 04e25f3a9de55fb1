"""Places of boxes and arrows, on random graphs."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from workflows.graph import TaskGraph
from workflows.layout import Layout, lay_out

HAIR = 0.001

Rectangle = tuple[float, float, float, float]


def apart(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles (left, top, right, bottom) do not cover each other."""
    beside = one[2] <= other[0] + HAIR or other[2] <= one[0] + HAIR
    return beside or one[3] <= other[1] + HAIR or other[3] <= one[1] + HAIR


def drawn(graph: TaskGraph[int], seed: int) -> tuple[dict[str, tuple[float, float]], Layout]:
    chance = random.Random(seed)
    sizes = {str(node): (chance.uniform(60, 300), chance.uniform(30, 90)) for node in graph.order()}
    return sizes, lay_out(sizes, [(str(above), str(below)) for above, below in graph.edges])


@given(st.from_type(TaskGraph), st.integers(0, 1000))
def test_boxes_stand_apart_and_inside_the_whole(graph: TaskGraph[int], seed: int) -> None:
    sizes, layout = drawn(graph, seed)
    assert layout.middles.keys() == sizes.keys()
    edges = {}
    for name, (x, y) in layout.middles.items():
        width, height = sizes[name]
        edges[name] = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        assert min(edges[name][:2]) >= -HAIR
        assert edges[name][2] <= layout.width + HAIR
        assert edges[name][3] <= layout.height + HAIR
    assert all(apart(one, other) for one, other in combinations(edges.values(), 2))


@given(st.from_type(TaskGraph), st.integers(0, 1000))
def test_arrows_lead_down_and_through_no_box(graph: TaskGraph[int], seed: int) -> None:
    sizes, layout = drawn(graph, seed)
    for (above, below), way in layout.ways.items():
        assert way[0].x == layout.middles[above][0]
        assert way[-1].x == layout.middles[below][0]
        assert way[0].top > layout.middles[above][1]
        assert way[-1].bottom < layout.middles[below][1]
        for upper, lower in pairwise(way):
            assert upper.top - HAIR <= upper.bottom < lower.top <= lower.bottom + HAIR
        for name, (x, y) in layout.middles.items():
            width, height = sizes[name]
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            for lane in way:
                assert apart(box, (lane.x, lane.top, lane.x, lane.bottom))
            for upper, lower in pairwise(way):
                left, right = sorted((upper.x, lower.x))
                assert apart(box, (left, upper.bottom, right, lower.top))


@given(st.from_type(TaskGraph))
def test_every_arrow_has_its_way(graph: TaskGraph[int]) -> None:
    _, layout = drawn(graph, 1)
    assert layout.ways.keys() == {(str(above), str(below)) for above, below in graph.edges}


def test_a_long_chain_and_a_wide_fan_are_drawn() -> None:
    sizes = {str(n): (100.0, 40.0) for n in range(400)}
    chain = lay_out(sizes, [(str(n), str(n + 1)) for n in range(399)])
    assert chain.width == 100
    fan = lay_out(sizes, [("0", str(n)) for n in range(1, 400)])
    assert fan.height < 200


def test_what_does_not_hang_together_is_put_in_rows() -> None:
    layout = lay_out({str(n): (150.0, 40.0) for n in range(60)}, [])
    assert layout.width <= 1600
    assert layout.height < 1000
