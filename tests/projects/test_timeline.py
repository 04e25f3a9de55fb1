"""The critical path, slack and finish of fixed graphs, beside networkx and beside pencil and paper."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import networkx as nx
import pytest

from tests.projects.graphs import GRAPHS, WORKED, Graph
from workflows.errors import CycleError, UnknownDependency
from workflows.estimates import Estimate
from workflows.timeline import Actual, Timeline

BEGINS = datetime(2030, 1, 1, tzinfo=UTC)


def timeline(graph: Graph, spread: float = 0.0, **more: object) -> Timeline:
    tasks = [
        (task, f"Task {task}", "goal", needs, Estimate(seconds, spread))
        for task, (seconds, needs) in graph.items()
    ]
    return Timeline.of(tasks, begins_at=BEGINS, **more)  # type: ignore[arg-type]


def at(seconds: float) -> datetime:
    return BEGINS + timedelta(seconds=seconds)


def by_networkx(graph: Graph) -> tuple[float, dict[str, float], dict[str, float]]:
    """Return the finish, and the earliest and latest start of each task.

    The longest ways are found by networkx, over edges that are as long as what they lead away from.
    """
    found: nx.DiGraph[object] = nx.DiGraph()
    for task, (seconds, needs) in graph.items():
        found.add_edge(task, "end", weight=seconds)
        found.add_edge("begin", task, weight=0)
        for needed in needs:
            found.add_edge(needed, task, weight=graph[needed][0])
    finish = nx.dag_longest_path_length(found)

    def longest(begin: str, end: str) -> float:
        between = nx.descendants(found, begin) & nx.ancestors(found, end) | {begin, end}
        return float(nx.dag_longest_path_length(found.subgraph(between)))

    earliest = {task: longest("begin", task) for task in graph}
    latest = {task: finish - longest(task, "end") for task in graph}
    return finish, earliest, latest


def test_there_are_twenty_graphs() -> None:
    assert len(GRAPHS) == 20
    assert sum(len(graph) for graph in GRAPHS.values()) > 100


@pytest.mark.parametrize("name", GRAPHS)
def test_a_timeline_is_as_networkx_says(name: str) -> None:
    graph = GRAPHS[name]
    finish, earliest, latest = by_networkx(graph)
    made = timeline(graph)
    assert made.duration == pytest.approx(finish)
    assert made.planned_duration == pytest.approx(finish)
    assert made.finishes_at == at(made.duration)
    for item in made.items:
        assert item.start == pytest.approx(earliest[item.id]), item.id
        assert item.latest_start == pytest.approx(latest[item.id]), item.id
        assert item.slack == pytest.approx(latest[item.id] - earliest[item.id]), item.id
    path = made.critical_path
    assert sum(graph[task][0] for task in path) == pytest.approx(finish)
    assert all(before in graph[after][1] for before, after in pairwise(path))
    assert {item.id for item in made.items if item.critical} >= set(path)


@pytest.mark.parametrize("name", WORKED)
def test_a_timeline_is_as_it_was_worked_out(name: str) -> None:
    worked = WORKED[name]
    made = timeline(worked.graph)
    assert made.duration == worked.finish
    assert made.critical_path == worked.path
    assert {item.id: item.slack for item in made.items} == worked.slack


def test_a_circle_is_refused_by_name() -> None:
    with pytest.raises(CycleError, match="in a circle, a -> c -> b -> a: drop one of them"):
        timeline({"a": (1, ["c"]), "b": (1, ["a"]), "c": (1, ["b"])})
    with pytest.raises(UnknownDependency, match="a depends on nobody"):
        timeline({"a": (1, ["nobody"])})


def test_certain_work_ends_when_it_is_said() -> None:
    made = timeline(GRAPHS["house"], spread=0.0)
    assert made.likely.p50 == pytest.approx(27)
    assert made.likely.p90 == pytest.approx(27)


def test_one_task_is_as_likely_as_the_tables_say() -> None:
    made = timeline({"a": (10, [])}, spread=0.45, draws=20_000)
    assert made.likely.p50 == pytest.approx(10, rel=0.02)
    assert made.likely.p90 == pytest.approx(10 * math.exp(1.2816 * 0.45), rel=0.03)


def test_of_many_side_by_side_one_is_late() -> None:
    made = timeline({str(n): (10.0, []) for n in range(20)}, spread=0.45)
    assert made.duration == 10
    assert made.likely.p50 > 15


def test_what_was_done_counts_as_it_went() -> None:
    """a took 4 instead of 1; b has run for 3 of 5; c waits for both."""
    graph: Graph = {"a": (1, []), "b": (5, []), "c": (2, ["a", "b"])}
    actuals = {
        "a": Actual(standing="done", started_at=at(0), finished_at=at(4)),
        "b": Actual(standing="running", started_at=at(3)),
    }
    made = timeline(graph, now=at(6), actuals=actuals)
    items = {item.id: item for item in made.items}
    assert (items["a"].start, items["a"].finish) == (0, 4)
    assert (items["a"].planned_start, items["a"].planned_finish) == (0, 1)
    assert (items["b"].start, items["b"].finish) == (3, 8)
    assert (items["c"].start, items["c"].finish) == (8, 10)
    assert (made.duration, made.planned_duration) == (10, 7)
    assert made.critical_path == ["b", "c"]
    assert items["a"].standing == "done"


def test_what_runs_longer_than_expected_ends_now_at_the_earliest() -> None:
    running = {"a": Actual(standing="running", started_at=at(0))}
    made = timeline({"a": (1, []), "b": (2, ["a"])}, now=at(30), actuals=running)
    assert [item.finish for item in made.items] == [30, 32]


def test_what_has_failed_is_to_be_done_again() -> None:
    failed = {"a": Actual(standing="failed", started_at=at(0), finished_at=at(3))}
    made = timeline({"a": (5, []), "b": (2, ["a"])}, now=at(10), actuals=failed)
    assert [(item.start, item.finish) for item in made.items] == [(10, 15), (15, 17)]
    assert [item.standing for item in made.items] == ["failed", "planned"]


def test_nothing_begins_in_the_past() -> None:
    made = timeline({"a": (1, [])}, now=at(50))
    assert made.items[0].start == 50


def test_a_deadline_is_at_risk_before_it_is_missed() -> None:
    graph: Graph = {"a": (10, [])}
    for due, at_risk in ((8.0, True), (12.0, True), (60.0, False)):
        made = timeline(graph, spread=0.45, deadlines={"": at(due)})
        assert made.at_risk is at_risk, due
        assert (made.late.get("", 0) > 0.5) is (due < 10)
    assert timeline(graph, spread=0.45, deadlines={"goal": at(8)}).late.keys() == {"goal"}
    bold = timeline(graph, spread=0.45, deadlines={"": at(12)}, risk=0.5)
    assert not bold.at_risk


def test_nothing_takes_no_time() -> None:
    made = timeline({})
    assert (made.duration, made.critical_path, made.likely.p90) == (0, [], 0)
