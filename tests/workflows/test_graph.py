from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.errors import CycleError, InvalidTask, UnknownDependency
from workflows.graph import TaskGraph

SKEW = TaskGraph({"A": [], "B": [], "C": ["A"], "D": ["A", "B"]})

graphs = st.from_type(TaskGraph[int])


@given(graphs)
def test_the_order_puts_every_node_after_what_it_needs(graph: TaskGraph[int]) -> None:
    place = {node: number for number, node in enumerate(graph.order())}

    assert sorted(graph.order()) == sorted(graph)
    assert all(place[needed] < place[n] for n in graph for needed in graph.dependencies(n))


@given(graphs)
def test_a_level_is_one_more_than_the_deepest_dependency(graph: TaskGraph[int]) -> None:
    level = {node: number for number, nodes in enumerate(graph.levels()) for node in nodes}

    assert sorted(level) == sorted(graph)
    for node in graph:
        deepest = max((level[needed] for needed in graph.dependencies(node)), default=-1)
        assert level[node] == deepest + 1


@given(graphs)
def test_dependents_mirror_dependencies(graph: TaskGraph[int]) -> None:
    edges = {(needed, node) for node in graph for needed in graph.dependencies(node)}

    assert {(node, after) for node in graph for after in graph.dependents(node)} == edges
    assert len(graph.edges) == len(edges)
    assert set(graph.edges) == edges
    assert set(graph.roots) == {node for node in graph if not graph.dependencies(node)}
    assert set(graph.sinks) == {node for node in graph if not graph.dependents(node)}


@given(graphs, st.lists(st.integers(0, 9), min_size=60, max_size=60))
def test_the_critical_path_is_a_way_and_no_way_is_longer(
    graph: TaskGraph[int], durations: list[int]
) -> None:
    seconds = {node: float(durations[node]) for node in graph}
    path, total = graph.critical_path(seconds)

    finish: dict[int, float] = {}
    for node in graph.order():
        start = max((finish[needed] for needed in graph.dependencies(node)), default=0.0)
        finish[node] = start + seconds[node]
    assert total == max(finish.values(), default=0.0)
    assert total == sum(seconds[node] for node in path)
    assert set(pairwise(path)) <= set(graph.edges)


@given(graphs, st.sets(st.integers(0, 59)))
def test_unfinished_keeps_what_is_not_done_and_the_edges_between(
    graph: TaskGraph[int], done: set[int]
) -> None:
    left = graph.unfinished(done)

    assert set(left) == set(graph) - done
    assert set(left.edges) == {edge for edge in graph.edges if not set(edge) & done}
    assert left.unfinished(list(left)) == TaskGraph({})


@given(graphs, st.integers(0, 60))
def test_a_circle_is_named_whole(graph: TaskGraph[int], which: int) -> None:
    # One more node waits for all the others, and one of them for it.
    circular = {node: list(graph.dependencies(node)) for node in graph}
    circular[-1] = list(graph)
    circular[[*graph, -1][which % len(circular)]].append(-1)

    with pytest.raises(CycleError) as caught:
        TaskGraph(circular)

    named = str(caught.value).removeprefix("the dependencies run in a circle, ").split(":")[0]
    circle = [int(name) for name in named.split(" -> ")]
    assert circle[0] == circle[-1]
    assert len(circle) > 1
    assert all(needed in circular[node] for node, needed in pairwise(circle))


def test_a_node_that_waits_for_itself_is_a_circle() -> None:
    with pytest.raises(CycleError, match=r"^the dependencies run in a circle, A -> A: drop one"):
        TaskGraph({"A": ["A"]})


def test_the_circle_is_told_in_the_order_of_waiting() -> None:
    with pytest.raises(CycleError) as caught:
        TaskGraph({"A": ["B"], "B": ["C"], "C": ["A"], "D": []})

    circles = {"A -> B -> C -> A", "B -> C -> A -> B", "C -> A -> B -> C"}
    assert any(circle in str(caught.value) for circle in circles)


def test_a_dependency_outside_the_graph_is_refused() -> None:
    with pytest.raises(UnknownDependency, match="A depends on Z, which is not in the graph"):
        TaskGraph({"A": ["Z"]})


def test_the_skewed_graph() -> None:
    assert SKEW.order() == ("A", "B", "C", "D")
    assert SKEW.levels() == (("A", "B"), ("C", "D"))
    assert SKEW.roots == ("A", "B")
    assert SKEW.sinks == ("C", "D")
    assert SKEW.edges == (("A", "C"), ("A", "D"), ("B", "D"))
    assert SKEW.dependents("A") == ("C", "D")
    assert SKEW.dependencies("D") == ("A", "B")
    assert SKEW.critical_path({"A": 1, "B": 5, "C": 5, "D": 2}) == (["B", "D"], 7)
    assert SKEW.unfinished({"A"}) == TaskGraph({"B": [], "C": [], "D": ["B"]})
    assert len(SKEW) == 4
    assert "A" in SKEW
    assert "Z" not in SKEW


def test_dependencies_keep_their_order_and_count_once() -> None:
    graph = TaskGraph({"A": [], "B": [], "C": ["B", "A", "B"]})

    assert graph.dependencies("C") == ("B", "A")
    assert graph.dependents("B") == ("C",)


def test_a_graph_is_a_value() -> None:
    same = TaskGraph({"D": ["A", "B"], "C": ["A"], "B": [], "A": []})

    assert same == SKEW
    assert hash(same) == hash(SKEW)
    assert SKEW != "graph"
    assert eval(repr(SKEW), {"TaskGraph": TaskGraph}) == SKEW


def test_what_the_graph_was_made_of_may_change_afterwards() -> None:
    needs = ["A"]
    graph = TaskGraph({"A": [], "B": needs, "C": []})
    needs.append("C")

    assert graph.dependencies("B") == ("A",)


def test_an_empty_graph_takes_no_time() -> None:
    assert TaskGraph[str]({}).critical_path({}) == ([], 0.0)


@pytest.mark.parametrize("seconds", [{"A": -1.0}, {"A": float("nan")}, {}])
def test_a_duration_is_zero_or_more(seconds: dict[str, float]) -> None:
    with pytest.raises(InvalidTask, match=r"^A takes \S+ seconds: give a number of 0 or more"):
        TaskGraph({"A": []}).critical_path(seconds)
