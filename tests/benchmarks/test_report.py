"""The page of all figures follows from what was kept, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.field.figures import figures_of
from benchmarks.field.peers import OURS, REFERENCE
from benchmarks.kept import keep, kept
from benchmarks.report import document

TURNS: dict[str, Any] = {
    "peer": "dramatiq",
    "turns": {
        "fan-20": {
            REFERENCE: [[1.0, 0.2], [2.0, 0.2], [4.0, 0.2]],
            OURS: [[1.5, 0.44], [3.0, 0.44], [2.0, 0.44]],
            "dramatiq": [[3.0, 0.1], [2.0, 0.1], [4.0, 0.1]],
        }
    },
}


def test_ratios_are_of_the_same_round() -> None:
    figures = figures_of([TURNS])["fan-20"]
    assert figures[OURS].reference == 1.5
    assert figures["dramatiq"].reference == 1.0
    assert figures["dramatiq"].ours == 2.0
    assert (figures[OURS].seconds, figures[OURS].low, figures[OURS].high) == (2.0, 1.5, 3.0)
    assert round(figures[OURS].processors, 3) == 20.0


def test_what_is_measured_beside_everybody_counts_with_all_its_turns() -> None:
    other = json.loads(json.dumps(TURNS).replace("dramatiq", "langgraph").replace("4.0", "40.0"))
    figures = figures_of([TURNS, other])["fan-20"]
    assert figures[REFERENCE].high == 40.0
    assert figures["dramatiq"].high == 4.0


def test_the_page_says_what_was_measured_and_leaves_out_the_rest(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    keep("field", {"rounds": 3, "parts": [TURNS], "absent": {"prefect": "it ended"}}, tmp_path)
    page = document(tmp_path, tmp_path)
    assert "| Dramatiq | nothing | 3 s (2–4) x1.00 |" in page
    assert "Prefect is not in it: it ended." in page
    assert "Growth" not in page
    assert "best schedule\n" not in page
    picture = (tmp_path / "field.svg").read_text()
    assert document(tmp_path, tmp_path) == page
    assert (tmp_path / "field.svg").read_text() == picture


def test_the_page_says_how_near_graphs_come_to_their_best(tmp_path: Path) -> None:
    row = {"kind": "lanes", "graphs": "2", "ratio": 1.04, "most": 1.0512}
    keep("makespan", {"rows": [row]}, tmp_path)
    page = document(tmp_path, tmp_path)
    assert "## Near the best schedule\n" in page
    assert "| lanes | 2 | 1.04 | 1.051 |" in page


def test_no_figure_says_whose_machine_it_was(tmp_path: Path) -> None:
    import socket

    text = keep("growth", {"graphs": []}, tmp_path).read_text()
    assert kept("growth", tmp_path) == json.loads(text)
    assert kept("field", tmp_path) is None
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
