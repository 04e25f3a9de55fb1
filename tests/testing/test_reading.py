"""Suites as files: what is wrong is told with file, line, case and step, all of it at once."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from celery_app.testing.framework import batches
from celery_app.testing.reading import find_suites, read_suite, schema
from celery_app.testing.results import InvalidSuite, TestResult, TestResults, TestStatus, wilson

SUITES = Path(__file__).parent / "suites"


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "bad.agenttest.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSuite) as raised:
        read_suite(path)
    return [str(problem).removeprefix(f"{path}:") for problem in raised.value.problems]


def test_all_problems_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """\
name: bad
casess: []
cases:
  - name: one
    steps:
      - {task: chore.echo, run: both}
      - {fault: earthquake}
      - {agent: writer}
      - {task: chore.echo, prompt: no}
      - {tsk: chore.echo}
    checks:
      - {equals: 1, contains: 2}
      - {max_tokens: many}
  - {name: two}
""",
    )
    assert told[0] == "2: casess is no known key: did you mean 'cases'?"
    assert "6: case one: step 1: a step has one of" in told[1]
    assert "here is run, task" in told[1]
    assert told[2].startswith(
        "7: case one: step 2: fault is 'earthquake': it must be 'kill_worker'"
    )
    assert told[3] == "8: case one: step 3: `agent` and `prompt` go together"
    assert told[4] == "9: case one: step 4: `agent` and `prompt` go together"
    assert told[5] == "10: case one: step 5: tsk is no known key: did you mean 'task'?"
    assert "12: case one: check 1: a check has one of" in told[6]
    assert told[7].startswith("13: case one: check 2: max_tokens is 'many'")
    assert told[8] == "14: case two: steps is missing: add it"
    assert len(told) == 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1: it is empty: write keys, name and cases"),
        ("[1]", "1: it is '[1]': write keys, name and cases"),
        ("name: [", "this is not YAML"),
        (
            "name: a\ncases:\n- {name: b, steps: [{id: x, task: t}, {id: x, task: t}]}",
            "3: case b: there are two steps 'x': rename one",
        ),
        (
            "name: a\ncases:\n- {name: b, steps: [{task: t}], checks: [{equals: 1, of: y}]}",
            "3: case b: there is no step 'y' above; give a step that `id`",
        ),
        (
            "name: a\ncases:\n- {name: b, steps: [{task: t}], checks: [{judge: {rubric: r}}]}",
            "3: case b: a model's judgement alone decides nothing: add another check",
        ),
        (
            "name: a\ncases:\n- {name: b, steps: [{task: t}], checks: [{schema: {type: int}}]}",
            "3: case b: check 1: type: there is no type 'int'",
        ),
        (
            "name: a\ncases:\n- {name: b, steps: [{task: t}], checks: [{log: {text: '('}}]}",
            "3: case b: check 1: text is '(': this is no regular expression",
        ),
        (
            "name: a\ncases:\n- {name: b, steps: [{task: t}], checks: [{log: {level: LOUD}}]}",
            "3: case b: check 1: level is 'LOUD': it must be 'DEBUG'",
        ),
        (
            "name: a\ncases: [{name: b, steps: [{task: t}]}, {name: b, steps: [{task: t}]}]",
            "there are two cases 'b': rename one",
        ),
    ],
)
def test_one_problem(tmp_path: Path, text: str, words: str) -> None:
    [told] = problems(tmp_path, text)
    assert words in told


@pytest.mark.parametrize("rule", ["{when: x}", "{answer: x, embedding: [1]}"])
def test_a_rule_has_an_answer_or_an_embedding(tmp_path: Path, rule: str) -> None:
    told = problems(
        tmp_path, f"name: a\nmodel: [{rule}]\ncases: [{{name: b, steps: [{{task: t}}]}}]"
    )
    assert "2: a rule has an `answer` or an `embedding`" in told


def test_paths(tmp_path: Path) -> None:
    good = tmp_path / "a" / "good.agenttest.yaml"
    good.parent.mkdir()
    good.write_text("name: a\ncases: [{name: b, steps: [{task: t}]}]")
    assert find_suites([tmp_path, good]) == [good]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none.yaml", tmp_path / "empty"):
        with pytest.raises(InvalidSuite, match="correct the path"):
            find_suites([path])


def test_the_schema_knows_what_is_read() -> None:
    jsonschema.validate(yaml.safe_load((SUITES / "every.yaml").read_text()), schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "a", "cases": [{"name": "b", "step": []}]}, schema())


def test_what_runs_side_by_side() -> None:
    suite = read_suite(SUITES / "every.yaml")
    together = [[case.name for case in batch] for batch in batches(suite.test_cases)]
    assert together[1:3] == [["bad clock"], ["bad fault"]]
    assert {"bad equals", "bad alert", "bad similar"} < set(together[3])
    assert len(together) == 4


def test_the_interval_is_wilson_s() -> None:
    assert wilson(8, 10) == (0.4902, 0.9433)
    assert wilson(0, 10) == (0.0, 0.2775)
    assert wilson(10, 10) == (0.7225, 1.0)


def test_results_are_counted() -> None:
    good = TestResult(TestStatus.PASSED, "a", passes=1)
    bad = TestResult(TestStatus.FAILED, "b", critical=True)
    results = TestResults("s")
    for result in (good, bad):
        results.add_result(result)
    assert (results.as_json()["passed"], results.as_json()["failed"]) == (1, 1)
    assert [TestResults("s", found).passed for found in ([], [good], [bad])] == [False, True, False]
    assert (good.is_critical_failure, bad.is_critical_failure) == (False, True)
