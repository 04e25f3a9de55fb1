"""Processes die at random moments while graphs run: everything completes, each task recorded once, no
recorded answer of the model is asked for again.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.arena import Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.mark.faults_long
def test_twenty_kills_while_ten_graphs_run(tmp_path: Path) -> None:
    with Arena(tmp_path / "home", seed=1) as arena:
        runs = [(arena.hand_in(tasks), tasks) for tasks in (arena.graph() for _ in range(10))]
        for _ in range(20):
            arena.hurt(arena.chance.choice(["worker killed", "child killed"]))
            time.sleep(arena.chance.uniform(0.2, 1.5))
        arena.assert_all_complete(runs, seconds=120)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        pytest.param("broker emptied", 60, marks=pytest.mark.faults_long),
        pytest.param("broker restarted", 60, marks=pytest.mark.faults_long),
        pytest.param("postgres restarted", 60, marks=pytest.mark.faults_long),
        ("both restarted", 60),
        pytest.param("worker frozen", 60, marks=pytest.mark.faults_long),
        pytest.param("worker stopped", 60, marks=pytest.mark.faults_long),
        pytest.param("messages doubled", 60, marks=pytest.mark.faults_long),
    ],
)
def test_one_fault_in_the_middle(tmp_path: Path, fault: str, seconds: float) -> None:
    with Arena(tmp_path / "home", seed=2) as arena:
        runs = [(arena.hand_in(tasks), tasks) for tasks in (arena.graph() for _ in range(3))]
        handle = runs[0][0]
        deadline = time.monotonic() + 20
        while not arena.kinds(handle, "succeeded"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        arena.hurt(fault)
        arena.assert_all_complete(runs, seconds)
