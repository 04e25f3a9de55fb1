"""A suite with every kind of step and check: exactly what is wrong is reported, with place and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_app.testing.framework import AgentTestFramework
from celery_app.testing.reading import read_suite
from celery_app.testing.results import TestResult, TestResults, TestStatus
from celery_app.testing.suite import TestCheck, TestStep
from tests.testing.traces import processes_below

SUITE = Path(__file__).parent / "suites" / "every.yaml"

#: What the one step that fails says.
REASONS = {
    "bad run": (1, "after 0.001 s"),
    "bad agent": (1, "there is no agent 'nobody'"),
    "bad task": (1, "failed: it is broken"),
    "bad workflow": (1, "cannot be read"),
    "bad tool": (1, "Error: "),
    "bad triggers": (1, "there is no workflow 'none'"),
    "bad emit": (1, "no workflow waits for the event 'nothing-waits'"),
    "bad approve": (2, "step 1 is no run of a workflow"),
    "bad reject": (2, "the run asked nothing at say within 1 s"),
    "bad wait": (2, "a is succeeded, not failed"),
    "bad clock": (3, "step 1 is waiting after 1 s, not succeeded"),
    "bad fault": (2, "after 3 s"),
}
CHECKS = {
    1: "it is 'library', not 'church'",
    2: "'church' is not in 'library'",
    3: "'^church' is not found in 'library'",
    4: "'library' does not fit the schema: 'library' is not of type 'integer'",
    5: "task is succeeded, not failed",
    6: "what ran is",
    7: "say ran; what ran is",
    8: "both ran 2 times, not 3",
    9: "tokens, and may take 1",
    10: "it took 1 model calls, and may take 0",
    11: "seconds, and may take 0.001",
    12: "of cost, and may take 0.0001",
    13: "the event failed happened 0 times, not at least once",
    14: "a scripted model has no embeddings",
    16: "the output of task has no a.b: 'library'",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> TestResults:
    folder = tmp_path_factory.mktemp("e")
    framework = AgentTestFramework()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        found = framework.run(read_suite(SUITE))
    assert framework.test_environment.root is None
    assert not list(folder.iterdir())
    assert not processes_below(folder)
    return found


def result(results: TestResults, name: str) -> TestResult:
    return next(each for each in results.results if each.case == name)


@pytest.mark.timeout(900)
def test_exactly_the_bad_ones_fail(results: TestResults) -> None:
    failed = {each.case: [str(e) for e in each.errors] for each in results.of(TestStatus.FAILED)}
    bad = {each.case for each in results.results if each.case.startswith("bad")}
    assert failed.keys() == bad, {name: failed.get(name) for name in failed.keys() ^ bad}
    assert {each.case for each in results.of(TestStatus.PASSED)} == {"good work", "good run"}


@pytest.mark.parametrize("name", REASONS)
def test_a_step_that_fails_says_where_and_why(results: TestResults, name: str) -> None:
    step, reason = REASONS[name]
    first = result(results, name).errors[0]
    line = next(n for n, text in enumerate(SUITE.read_text().splitlines(), 1) if name in text)
    assert f"case {name}: step {step}" in first.place
    assert int(first.place.split(":")[1]) >= line
    assert reason in first.reason


def test_each_check_that_fails_says_where_and_why(results: TestResults) -> None:
    found = {
        int(error.place.rsplit(" ", 1)[1]): error.reason
        for error in result(results, "bad checks").errors
        if "check" in error.place
    }
    assert found.keys() == CHECKS.keys()
    for number, reason in CHECKS.items():
        assert reason in found[number], number


def test_metrics_are_there_on_pass_and_on_fail(results: TestResults) -> None:
    for name, calls in (("good work", 2), ("bad task", 0)):
        metrics = result(results, name).metrics
        assert metrics["seconds"] > 0
        assert metrics["model_calls"] == calls
    assert result(results, "good work").metrics["cost"] > 0


def test_a_judgement_is_told_and_decides_nothing(results: TestResults) -> None:
    [judgement] = result(results, "good work").judgements
    assert not judgement.passed
    assert judgement.reason == "It says so."


def test_every_kind_is_in_the_suite() -> None:
    suite = read_suite(SUITE)
    bad = [case for case in suite.test_cases if case.name.startswith("bad")]
    assert {step.kind for case in bad for step in case.steps} == set(TestStep.KINDS)
    assert {check.kind for case in bad for check in case.checks} == set(TestCheck.KINDS)
