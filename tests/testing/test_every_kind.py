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
    "bad run": (1, "no rule of the scripted model fits"),
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
#: What each check that does not hold says; the other checks of its case hold.
CHECKS = {
    "bad equals": {
        2: "it is 'library', not 'church'",
        3: "the output of step 1 has no a.b: 'library'",
    },
    "bad contains": {2: "'church' is not in 'library'"},
    "bad regex": {2: "'^church' is not found in 'library'"},
    "bad schema": {2: "does not fit the schema: 'library' is not of type 'integer'"},
    "bad state": {1: "step 1 is succeeded, not failed"},
    "bad path": {
        2: "what ran is",
        3: "say ran; what ran is",
        4: "both ran 2 times, not 3",
    },
    "bad max_tokens": {2: "tokens, and may take 1"},
    "bad max_calls": {2: "it took 1 model calls, and may take 0"},
    "bad max_seconds": {2: "seconds, and may take 0.001"},
    "bad max_cost": {2: "of cost, and may take 0.0001"},
    "bad event": {2: "the event failed happened 0 times, not at least once"},
    "bad log": {
        3: "times, not 0 times; the last: ",
        4: "the log has level ERROR, text it is broken 0 times, not at least once",
        5: "the log has logger church* 0 times, not at least once",
    },
    "bad alert": {
        3: "an alert of burnt fired 0 times, not at least once",
        4: "an alert of broken fired 1 times, not 0 times; the last: celery",
        5: "there is no rule 'brken' of alerts: did you mean 'broken'?",
    },
    "bad similar": {
        2: "it is 0.020 like the reference, and must be 0.7: 'A library lends books.'",
        3: "no rule of the scripted model has an `embedding` for 'Nobody knows that.'",
    },
    # A judgement decides nothing; what fails is the other check.
    "bad judge": {2: "it is 'library', not 'church'"},
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


@pytest.mark.parametrize("name", CHECKS)
def test_exactly_the_checks_that_fail_say_where_and_why(results: TestResults, name: str) -> None:
    errors = result(results, name).errors
    assert all(f"{SUITE}:" in error.place for error in errors)
    found = {int(error.place.rsplit(" ", 1)[1]): error.reason for error in errors}
    assert len(found) == len(errors), errors
    assert found.keys() == CHECKS[name].keys(), found
    for number, reason in CHECKS[name].items():
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
    cases = {case.name.removeprefix("bad ") for case in suite.test_cases}
    assert cases >= {*TestStep.KINDS, *TestCheck.KINDS}
    for case in suite.test_cases:
        kind = case.name.removeprefix("bad ")
        if case.name.startswith("bad"):
            kinds = [*(step.kind for step in case.steps), *(each.kind for each in case.checks)]
            assert kind in kinds, case.name
