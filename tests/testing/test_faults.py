"""Faults and the clock as steps: each strikes, and the work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_app.testing.framework import AgentTestFramework
from celery_app.testing.reading import read_suite
from celery_app.testing.suite import FAULTS

SUITE = Path(__file__).parent / "suites" / "faults.yaml"


#: The work is tried for half a minute before it fails.
LONG = "a model that stays broken"
CASES = [
    pytest.param(case.name, marks=[pytest.mark.faults_long] if case.name == LONG else [])
    for case in read_suite(SUITE).test_cases
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_the_work_goes_on(case: str) -> None:
    suite = read_suite(SUITE)
    results = AgentTestFramework().run(
        suite.only([each for each in suite.test_cases if each.name == case])
    )
    assert results.passed, [str(error) for error in results.results[0].errors]


def test_every_fault_strikes() -> None:
    steps = [step for case in read_suite(SUITE).test_cases for step in case.steps]
    assert {step.fault for step in steps if step.fault} == set(FAULTS)
