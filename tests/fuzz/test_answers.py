"""What models say: whatever it is, it becomes a checked value or is asked for again in words."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.answers import find_json, in_words
from agents.outputs import output_form
from agents.plan_forms import keyed, outline, split_job
from agents.profile import AgentProfile
from agents.vocabulary import Staff
from tests.fuzz.doors import fuzzed, jsonish, nested, texts
from workflows.errors import InvalidPlan
from workflows.json_text import read_json
from workflows.plan import Plan, PlanStep
from workflows.schemas import mismatch, schema_fault
from workflows.task import Task

STAFF = Staff([AgentProfile(name="writer", type="writer", model="m")])
JOB = "Read the report and write a summary"

#: Texts that look like answers: JSON, cut JSON, JSON among words, fences.
pieces = st.sampled_from(
    ["[", "{", "]", "}", '"', ",", ":", "1", '"1"', '"action"', "```json\n", "```", "NaN", "\\u0000",
     "\\ud800", "1e999", "-", "x", "\n", '{"1": "Read the report"}', "[1", '{"a": 1, "a": 2}'],
)  # fmt: skip
answers = (
    texts
    | jsonish.map(lambda value: json.dumps(value, allow_nan=True))
    | st.lists(pieces, max_size=40).map("".join)
    | st.tuples(pieces, st.integers(1, 30_000)).map(lambda pair: pair[0] * pair[1])
)


@fuzzed
@given(answers)
@example("[" * 100_000)
@example("[1," * 20_000)
@example('{"a":' * 50_000)
@example("x [1 " * 50_000)
@example("[" * 5000 + "]" * 5000)
@example("[1" + "0" * 5000 + "]")
@example("```json\n" * 30_000)
def test_json_is_found_or_there_is_none(answer: str) -> None:
    begun = time.monotonic()
    try:
        value, _ = find_json(answer)
    except ValueError as error:
        assert in_words(error)
    else:
        json.dumps(value, allow_nan=False)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "Infinity is no number"),
        ("1e999", "too large"),
        ("1" * 5000, "too long"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[" * 200 + "]" * 200, "nested more than 100 deep"),
        ("[" * 100_000, "nested more than 100 deep"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_means_nothing_certain_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_json(text)


@fuzzed
@given(jsonish)
def test_what_is_read_is_what_was_written(value: Any) -> None:
    text = json.dumps(value)
    if "NaN" not in text and "Infinity" not in text:
        assert read_json(text) == value


numbers = st.integers(-1, 6).map(str)
entry = st.fixed_dictionaries(
    {},
    optional={
        "action": texts | st.just("Read the whole report carefully"),
        "agent": texts | st.just("writer"),
        "needs": jsonish | st.lists(st.integers(-1, 5)),
        "inputs": jsonish | st.lists(st.sampled_from(["a", "b", "\0"])),
    },
)
said = st.dictionaries(numbers | texts, entry | jsonish | texts, max_size=6) | jsonish


@fuzzed
@given(said, st.sampled_from([(), ("a",), ("a", "b")]))
@example({"²": "x"}, ())
@example({"1" * 5000: "x"}, ())
@example({"1": {"action": "Read the report", "needs": [math.inf]}}, ("a",))
@example({"1": {"action": "Read the report", "needs": "12", "inputs": "ab"}}, ("a", "b"))
@example({"1": {"action": "Read the report", "needs": 5, "inputs": 7}}, ("a",))
@example({"1": {"action": "Read", "inputs": [["a"]]}}, ("a",))
def test_a_plan_is_made_or_refused(answer: Any, parts: tuple[str, ...]) -> None:
    questions = [keyed(JOB, parts, STAFF)]
    questions.append(split_job(JOB, parts, STAFF) if parts else outline(JOB, STAFF))
    for question in questions:
        try:
            steps = question.form.read(answer)
        except ValueError as error:
            assert in_words(error)
            continue
        Plan(job=JOB, steps=steps, source="model").check(STAFF.names, inputs=parts)


steps = st.builds(
    PlanStep,
    title=st.just("t"),
    description=st.sampled_from(["", " ", "x"]),
    agent=st.sampled_from(["writer", "nobody"]),
    needs=st.lists(st.integers(), max_size=3) | st.just([1]),
    input_names=st.lists(st.sampled_from(["a", "\0"]), max_size=2),
)


@fuzzed
@given(st.lists(steps, max_size=25), st.integers(0, 5))
def test_a_checked_plan_becomes_tasks(listed: list[PlanStep], depth: int) -> None:
    plan = Plan(job=JOB, steps=listed, source="given")
    parent = Task.read({"description": JOB, "inputs": [{"name": "a", "text": "x"}]})
    try:
        plan.check(["writer"], inputs=["a"], depth=depth)
    except InvalidPlan as error:
        assert "\n" not in str(error)
    else:
        assert len(plan.tasks(parent)) == len(listed)


schemas = st.recursive(
    st.booleans() | st.sampled_from([{}, {"type": "string"}, {"$ref": "#"}, {"$ref": "#/$defs/a"}]),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["type", "items", "properties", "allOf", "anyOf", "not", "$ref", "$dynamicRef", "$id",
             "$defs", "enum", "pattern", "multipleOf", "minLength", "required", "if", "\0"],
        ),
        inner | st.lists(inner, max_size=2) | texts | st.integers() | st.floats(),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@fuzzed
@given(schemas, jsonish)
@example({"$dynamicRef": "#foo"}, [1])
@example({"$ref": "#"}, [1])
@example({"$id": "http://[", "$ref": "#/a"}, 1)
@example({"properties": {"a": {"$id": "b", "$ref": "#/x"}}, "x": {}}, {"a": 1})
@example({"multipleOf": 1e-308}, 1e308)
@example(nested(400, "dict"), 1)
def test_a_schema_is_sound_and_answers_or_is_refused(schema: Any, value: Any) -> None:
    if fault := schema_fault(schema):
        assert isinstance(fault, str)
        return
    mismatch(value, schema)
    form = output_form(schema)
    try:
        assert form.read({"answer": value}) is value
    except ValueError as error:
        assert in_words(error)


def test_a_schema_that_asks_without_end_is_given_up() -> None:
    """Each name refers twice to the next one: a few lines, and 2^40 looks."""
    names: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(40)
    }
    schema = {"$defs": {**names, "a40": True}, "$ref": "#/$defs/a0"}
    assert schema_fault(schema) is None
    assert "looks to tell" in (mismatch(1, schema) or "")
