"""Faults and the clock as steps: each strikes, and the work goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_app.testing.framework import AgentTestFramework
from celery_app.testing.reading import read_suite
from celery_app.testing.suite import FAULTS

SUITE = Path(__file__).parent / "suites" / "faults.yaml"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", [case.name for case in read_suite(SUITE).test_cases])
def test_the_work_goes_on(case: str) -> None:
    suite = read_suite(SUITE)
    results = AgentTestFramework().run(
        suite.only([each for each in suite.test_cases if each.name == case])
    )
    assert results.passed, [str(error) for error in results.results[0].errors]


def test_every_fault_strikes() -> None:
    steps = [step for case in read_suite(SUITE).test_cases for step in case.steps]
    assert {step.fault for step in steps if step.fault} == set(FAULTS)
