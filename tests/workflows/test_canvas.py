from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from celery import chain, chord, group, signature
from celery.canvas import Signature
from hypothesis import given
from hypothesis import strategies as st

from workflows.canvas import Canvas, compile_graph
from workflows.errors import InvalidTask
from workflows.graph import TaskGraph

graphs = st.from_type(TaskGraph[int])


def step(node: object) -> Signature:
    return signature("task.run", args=(node,), immutable=True)


class Written:
    """`task.run(1)` as a canvas prints it, made into the signature it stands for."""

    @staticmethod
    def run(node: object) -> Any:
        return step(node)


def neighbours(canvas: Canvas[int]) -> set[tuple[int, int]]:
    return {pair for segment in canvas.segments for pair in pairwise(segment)}


def parts(canvas: Canvas[int]) -> set[tuple[int, int]]:
    return {(part, head) for head, needed in canvas.chords.items() for part in needed}


@given(graphs)
def test_every_node_is_in_one_segment_once(graph: TaskGraph[int]) -> None:
    canvas = compile_graph(graph, step)

    assert sorted(node for segment in canvas.segments for node in segment) == sorted(graph)


@given(graphs, st.integers(1, 5), st.sets(st.integers(0, 59)))
def test_every_dependency_is_a_neighbour_or_a_part_and_nothing_else_is(
    graph: TaskGraph[int], longest: int, joins: set[int]
) -> None:
    canvas = compile_graph(graph, step, joins=joins, longest_chain=longest)
    edges = {(needed, node) for node in graph for needed in graph.dependencies(node)}

    assert neighbours(canvas) | parts(canvas) == edges
    assert not neighbours(canvas) & parts(canvas)
    assert set(canvas.edges) == edges
    assert len(canvas.edges) == len(edges)


@given(graphs, st.integers(1, 5), st.sets(st.integers(0, 59)))
def test_a_chain_goes_on_exactly_where_the_rule_allows_it(
    graph: TaskGraph[int], longest: int, joins: set[int]
) -> None:
    canvas = compile_graph(graph, step, joins=joins, longest_chain=longest)
    allowed = {
        (before, after)
        for before, after in graph.edges
        if graph.dependents(before) == (after,)
        and graph.dependencies(after) == (before,)
        and after not in joins
    }

    assert all(1 <= len(segment) <= longest for segment in canvas.segments)
    assert neighbours(canvas) <= allowed
    full = {segment[-1] for segment in canvas.segments if len(segment) == longest}
    assert {before for before, _ in allowed - neighbours(canvas)} <= full


@given(graphs)
def test_heads_are_roots_or_chord_bodies_and_parts_keep_their_order(
    graph: TaskGraph[int],
) -> None:
    canvas = compile_graph(graph, step)
    heads = [segment[0] for segment in canvas.segments]

    assert heads == sorted(heads, key=graph.order().index)
    assert set(canvas.roots) == set(graph.roots)
    assert set(heads) == set(canvas.roots) | set(canvas.chords)
    assert all(canvas.chords[head] == graph.dependencies(head) for head in canvas.chords)


@given(graphs)
def test_what_is_printed_is_the_canvas_written_in_celery(graph: TaskGraph[int]) -> None:
    canvas = compile_graph(graph, step, longest_chain=3)
    names = {"chain": chain, "chord": chord, "group": group, "task": Written}

    start, *joins = [eval(line, names) for line in str(canvas).splitlines()]

    assert start == canvas.start()
    assert joins == [canvas.chord(head) for head in canvas.chords]


@given(graphs, st.integers(0, 60))
def test_what_is_left_compiles_to_the_edges_that_are_left(
    graph: TaskGraph[int], finished: int
) -> None:
    done = set(graph.order()[:finished])
    left = compile_graph(graph.unfinished(done), step)

    assert neighbours(left) | parts(left) == {
        (needed, node) for needed, node in graph.edges if not {needed, node} & done
    }


def test_the_start_is_a_group_of_chains_and_single_signatures() -> None:
    start = compile_graph(TaskGraph({"A": [], "B": ["A"], "C": []}), step).start()

    assert isinstance(start, group)
    assert [task.task for task in start.tasks] == ["celery.chain", "task.run"]


def test_signatures_are_fresh_each_time() -> None:
    canvas = compile_graph(TaskGraph({"A": []}), step)
    canvas.segment("A").set(task_id="one")

    assert "task_id" not in canvas.segment("A").options


def test_nothing_to_do_is_an_empty_group() -> None:
    canvas = compile_graph(TaskGraph[str]({}), step)

    assert canvas.start() == group([])
    assert str(canvas) == "group([])"


def test_a_chain_of_no_nodes_is_refused() -> None:
    with pytest.raises(InvalidTask, match=r"longest_chain is 0: give 1 or more"):
        compile_graph(TaskGraph({"A": []}), step, longest_chain=0)


@pytest.mark.parametrize(
    "dependencies",
    [
        pytest.param({n: [n - 1] if n else [] for n in range(10_000)}, id="chain"),
        pytest.param({n: [0] if n else [] for n in range(10_000)}, id="fan-out"),
        pytest.param({n: range(n) if n == 9_999 else [] for n in range(10_000)}, id="join"),
        pytest.param({n: [n * 7 // 9, n // 2] if n else [] for n in range(10_000)}, id="mesh"),
    ],
)
def test_ten_thousand_nodes_compile_well_within_a_second(
    dependencies: dict[int, Sequence[int]],
) -> None:
    before = time.process_time()
    canvas = compile_graph(TaskGraph(dependencies), step)
    took = time.process_time() - before

    assert sum(len(segment) for segment in canvas.segments) == 10_000
    assert took < 1
