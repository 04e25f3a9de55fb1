"""The comparison with others runs, and tells right answers from wrong ones."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.field.figures import bound_of, figures_of
from benchmarks.field.peers import OURS, REFERENCE
from benchmarks.field.workloads import SLOTS, SMALL, WORKLOADS
from benchmarks.shapes import chain_graph, fan_graph, layered_graph, random_graph

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_both_sides_answer_rightly_and_their_figures_are_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.field", "--only", REFERENCE, "--small"]
    ran = subprocess.run(
        [*command, "--rounds", "1", "--into", str(tmp_path)],
        cwd=ROOT,
        check=False,
        text=True,
        capture_output=True,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads((tmp_path / "field.json").read_text())
    assert told["machine"]["cores"] >= 1
    figures = figures_of(told["parts"])
    assert set(figures) == set(SMALL)
    assert all(set(sides) == {OURS, REFERENCE} for sides in figures.values())
    for side in (OURS, REFERENCE):
        assert figures["sleeps-4"][side].seconds > bound_of("sleeps-4")
        assert figures["fan-20"][side].processors > 0
    assert figures["chain-10"][REFERENCE].reference == 1


def test_what_comes_out_of_a_graph_tells_whether_all_of_it_ran() -> None:
    assert chain_graph(40).value() == 40
    assert fan_graph(100).value() == 1 + 100 * 2
    assert layered_graph(3, 4).value() == 4 * (1 + 3 * (1 + 3))
    assert layered_graph(3, 4).with_barriers().value() == 4 * (1 + 4 * (1 + 4))


def test_barriers_are_never_quicker_and_levels_hold_every_node() -> None:
    for seed in range(20):
        graph = random_graph(random.Random(seed))
        assert sorted(node for level in graph.levels() for node in level) == list(
            range(len(graph.seconds))
        )
        assert graph.barriers(SLOTS) >= graph.with_barriers().greedy_schedule(SLOTS) - 1e-9
        assert graph.with_barriers().critical_path() >= graph.critical_path()


def test_a_name_means_the_same_graph_in_every_process() -> None:
    named = WORKLOADS["sleeps"].graph
    assert (len(named.seconds), round(sum(named.seconds), 3)) == (100, 10.157)
    assert round(bound_of("sleeps"), 3) == 1.701
