from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.workflows.report import IN_PYTHON, REPORT
from workflows.definitions import Registry, dump, load, schema
from workflows.errors import InvalidWorkflow
from workflows.step import WorkflowStep
from workflows.workflow import Workflow

KNOWN = Registry(
    agents={"planner", "writer"},
    capabilities={"writing"},
    tasks={"chore.echo", "chore.sleep"},
    workflows={"publish-report"},
    tools={"calculate"},
)

HEAD = "name: x\nsteps:\n"
A = "  - {id: a, task: chore.echo}\n"

# (the file, the line, the step, words of the problem)
BAD = {
    "empty": ("", 1, "", "it is empty: write keys, at least name and steps"),
    "a tab": ("name: x\nsteps:\n\t- id: a\n", 3, "", "at column 1: found character '\\t'"),
    "broken": ("name: x\nsteps: [\n", 3, "", "this is not YAML, at column 1"),
    "an open quote": ('name: "x\nsteps: []\n', 3, "", "at column 1: found unexpected end"),
    "two documents": ("name: x\n---\nname: y\n", 2, "", "but found another document"),
    "a strange character": ("name: x\nsteps: \x07\n", 2, "", "the character U+0007 cannot be read"),
}


def _read_bad_files() -> None:
    text = Path(__file__).with_name("bad_files.txt").read_text()
    for case in text.split("\n=== ")[1:]:
        head, _, content = case.partition("\n")
        name, line, step, words = head.split(" | ")
        BAD[name] = (f"{content}\n", int(line), step.removeprefix("-"), words)


_read_bad_files()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_with_file_line_step_and_what_to_do(name: str) -> None:
    text, line, step, words = BAD[name]

    with pytest.raises(InvalidWorkflow) as caught:
        load(text, "bad.yaml")

    found = [(p.line, p.step) for p in caught.value.problems if words in p.text]
    assert (line, step) in found, str(caught.value)
    told = str(caught.value).split("\n")
    assert len(told) == len(caught.value.problems)
    assert all(each.startswith("bad.yaml:") for each in told)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("agent: writre, prompt: p", "there is no agent 'writre': did you mean 'writer'?"),
        ("capabilities: [data], prompt: p", "there is no capability 'data': there is writing"),
        ("task: chore.ecko", "there is no task 'chore.ecko': did you mean 'chore.echo'?"),
        ("workflow: other", "there is no workflow 'other': there is publish-report"),
        (
            "agent: writer, prompt: p, tools: [calculato]",
            "there is no tool 'calculato': did you mean 'calculate'?",
        ),
        (
            "task: chore.echo, compensate: {task: zzz}",
            "there is no task 'zzz': there is chore.echo,",
        ),
    ],
)
def test_names_that_exist_elsewhere_are_checked_if_they_are_given(step: str, words: str) -> None:
    text = f"{HEAD}  - {{id: a, {step}}}\n"

    with pytest.raises(InvalidWorkflow) as caught:
        load(text, "bad.yaml", KNOWN)

    assert [problem.step for problem in caught.value.problems] == ["a"]
    assert words in str(caught.value)
    assert load(text).name == "x"


def test_a_trigger_names_a_workflow_that_exists() -> None:
    with pytest.raises(InvalidWorkflow, match="there is no workflow 'zzz'"):
        load("name: x\ntriggers: [{after: zzz}]\nsteps:\n" + A, known=KNOWN)


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
nmae: x
inputs: {a: {type: strng}, b: 5}
triggers:
  - {cron: "61 * * * *", timezone: Europe/Berlim}
steps:
  - id: one
    agnet: w
    prompt: "{{ inputs.zz }} {{ steps.two.output }}"
  - id: two
    task: x
    timeout: often
    retry: {max: -1, on: 5}
    needs: [three, four]
  - hello
  - id: three
    approval: {question: "", foo: 1}
"""
    with pytest.raises(InvalidWorkflow) as caught:
        load(text, "bad.yaml")

    told = [(problem.line, problem.text.split(":")[0]) for problem in caught.value.problems]
    assert told == [
        (1, "nmae is no known key"),
        (1, "name is missing"),
        (2, "the input a has no JSON schema"),
        (2, "the input b has no JSON schema"),
        (4, "cron is '61 * * * *'"),
        (4, "timezone is 'Europe/Berlim'"),
        (7, "agnet is no known key"),
        (8, "there is no input 'zz'"),
        (8, "'two' need not have run by then"),
        (11, "timeout is 'often'"),
        (12, "retry.max is -1"),
        (12, "retry.on is 5"),
        (13, "it needs 'four', and there is no such step"),
        (13, "the steps wait for each other in a circle, two -> three -> #3 -> two"),
        (14, "it is 'hello'"),
        (16, "approval.question is ''"),
        (16, "foo is no known key"),
    ]


def test_every_circle_is_told() -> None:
    text = HEAD + "".join(
        f"  - {{id: {step}, task: t, needs: [{need}]}}\n"
        for step, need in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]
    )
    with pytest.raises(InvalidWorkflow) as caught:
        load(text)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nsteps: " + "[" * 3000,
        "name: x\nsteps: " + "[" * 100 + "]" * 100,
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n"
            for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "name: x\n" + "#" * 300_000,
        "name: " + "9" * 5000 + "\nsteps: []\n",
        "name: x\nsteps:\n" + "".join(f"  - {{id: a{n}, task: t}}\n" for n in range(1001)),
        HEAD + "  - id: a\n    task: t\n    when: '{{ " + "(" * 900 + " }}'",
        "? [a]\n: b\n",
        "\ufeff",
        "%YAML 9.9\n---\nname: x\n",
        "name: !!int x\nsteps: []\n",
    ],
)  # fmt: skip
def test_no_file_is_too_bad(text: str) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        load(text)
    assert caught.value.problems


@given(st.data())
@settings(max_examples=150)
def test_a_file_with_anything_in_it_is_read_or_refused(data: st.DataObject) -> None:
    values = yaml.safe_load(REPORT.replace("options: [yes, no], ", ""))
    steps = values["steps"]
    step = data.draw(st.sampled_from(steps))
    key = data.draw(st.sampled_from([*step, *WorkflowStep.model_fields, "zzz"]))
    step[key] = data.draw(JSON)
    values[data.draw(st.sampled_from([*values, "zzz"]))] = data.draw(JSON | st.just(steps))
    try:
        workflow = load(json.dumps(values))
    except InvalidWorkflow as error:
        assert error.problems
    else:
        assert load(dump(workflow)) == workflow


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["outline", "{{ item }}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def test_the_same_workflow_in_yaml_and_in_python() -> None:
    workflow = load(REPORT)

    assert workflow == IN_PYTHON
    assert workflow.digest == IN_PYTHON.digest
    assert workflow.id == IN_PYTHON.id
    assert load(dump(IN_PYTHON)) == IN_PYTHON
    assert load(json.dumps(IN_PYTHON.model_dump(mode="json", by_alias=True))) == IN_PYTHON


def test_what_is_written_is_as_people_write_it() -> None:
    text = dump(IN_PYTHON)

    assert text.startswith("name: market-report\ndescription: ")
    assert "timeout: 2m\n" in text
    assert "- id: approval\n" in text
    assert "null" not in text
    assert "&id" not in text


words = st.text(alphabet=string.printable + "äß€𝄞\u2028\x85: #-", max_size=30)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | words
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    st.lists(st.dictionaries(words, plain, max_size=3), min_size=1, max_size=4),
    words,
    st.floats(0.001, 10**6),
)
def test_what_is_dumped_is_read_back_the_same(
    given: list[dict[str, Any]], description: str, timeout: float
) -> None:
    braces = str.maketrans("", "", "{}")
    clean = [
        json.loads(json.dumps(each, ensure_ascii=False).translate({0: None})) for each in given
    ]
    steps = [
        WorkflowStep(
            id=f"s{number}",
            task="yes" if number else "1e3",
            args=[_without_braces(each)],
            description=description.translate(braces),
            timeout=timeout if number else int(timeout) + 1,
            needs=[f"s{n}" for n in range(number)] or None,
        )
        for number, each in enumerate(clean)
    ]
    workflow = Workflow(name="x", steps=steps, inputs={"a": {"default": clean}})

    again = load(dump(workflow))

    assert again == workflow
    assert again.digest == workflow.digest


def _without_braces(value: Any) -> Any:
    return json.loads(json.dumps(value).replace("{{", "{ {").replace("{%", "{").replace("{#", "{"))


def test_words_are_read_as_they_stand() -> None:
    workflow = load(
        f"{HEAD}  - id: a\n    task: t\n    retry: {{on: [no]}}\n"
        "    args: [yes, off, 12:30, 2026-01-01, 0123, 1_000, ~, 1.5, -3, True, .5]\n"
    )

    expected = ["yes", "off", "12:30", "2026-01-01", "0123", "1_000", None, 1.5, -3, True, ".5"]
    assert workflow.steps[0].args == expected
    assert workflow.steps[0].retry.on == ["no"]


def test_anchors_may_be_used_with_measure() -> None:
    text = f"{HEAD}  - {{id: a, task: t, retry: &often {{max: 3}}}}\n  - {{id: b, task: t, retry: *often}}\n"

    assert load(text).steps[1].retry.max == 3


def test_editors_get_a_schema_that_the_report_obeys() -> None:
    described = schema()

    Draft202012Validator.check_schema(described)
    read = IN_PYTHON.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert list(Draft202012Validator(described).iter_errors(read)) == []
    step = described["$defs"]["WorkflowStep"]["properties"]
    assert {"with", "foreach", "compensate"} <= set(step)
    assert "with_" not in step
    assert all("description" in step[key] for key in step)
    wrong = {**read, "steps": [{"id": "a", "promt": "x"}]}
    assert list(Draft202012Validator(described).iter_errors(wrong))
