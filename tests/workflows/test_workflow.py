from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.workflows.report import IN_PYTHON
from workflows.definitions import dump, load
from workflows.durations import Duration, seconds_of, text_of
from workflows.errors import InvalidExpression, InvalidInputs, InvalidWorkflow
from workflows.problem import Problem, nearest
from workflows.schemas import mismatch, schema_fault
from workflows.state import TaskState
from workflows.step import Approval, Work, WorkflowStep
from workflows.workflow import Workflow, WorkflowInstance


def test_the_id_follows_from_the_name_and_the_digest_from_the_content() -> None:
    changed = IN_PYTHON.model_copy(update={"description": "other"})

    assert changed.id == IN_PYTHON.id
    assert changed.digest != IN_PYTHON.digest
    assert IN_PYTHON.model_copy(update={"name": "other"}).id != IN_PYTHON.id
    assert load(dump(changed)).digest == changed.digest


def test_the_digest_knows_no_order_of_inputs_and_no_defaults() -> None:
    text = "name: x\nsteps:\n  - {id: a, task: t%s}\ninputs: {%s}\n"
    plain = load(text % ("", "a: {}, b: {}"))

    assert load(text % (", timeout: 60", "a: {}, b: {}")).digest != plain.digest
    assert load(text % (", on_error: abort, with: {}", "b: {}, a: {}")).digest == plain.digest
    assert load(text % (", needs: []", "a: {}, b: {}")).digest != plain.digest


def test_a_workflow_made_in_python_obeys_the_same_rules() -> None:
    with pytest.raises(ValidationError) as caught:
        Workflow(
            name="x",
            steps=[
                WorkflowStep(id="a", task="t", plan="p", needs=["b"]),
                WorkflowStep(id="a", agent="w", prompt="{{ inputs.x }}"),
            ],
        )
    for words in (
        "step a: task and plan are 2 kinds of work",
        "step a: the id 'a' was given before",
        "step a: it needs 'b', and there is no such step",
        "step a: there is no input 'x'",
    ):
        assert words in str(caught.value)


def test_the_graph_has_fallbacks_behind_what_they_stand_in_for() -> None:
    graph = IN_PYTHON.graph

    assert graph.dependencies("sections") == ("outline",)
    assert graph.dependencies("numbers") == ()
    assert graph.dependencies("cached") == ("numbers",)
    assert graph.dependencies("approval") == ("sections", "numbers")
    assert IN_PYTHON.fallbacks == {"cached": "numbers"}
    assert [step.kind for step in IN_PYTHON.steps[:6]] == [
        "agent", "agent", "task", "task", "approval", "workflow",
    ]  # fmt: skip
    assert IN_PYTHON.step("polish").kind == "agent"
    with pytest.raises(KeyError, match="market-report has no step 'zzz'"):
        IN_PYTHON.step("zzz")


def test_inputs_are_checked_and_completed() -> None:
    assert IN_PYTHON.inputs_from({"topic": "bees"}) == {"topic": "bees", "depth": 3}
    with pytest.raises(InvalidInputs) as caught:
        IN_PYTHON.inputs_from({"depth": "x", "topik": 1})
    assert str(caught.value) == (
        "workflow 'market-report' cannot start: there is no input 'topik': did you mean 'topic'?; "
        "the input 'topic' is missing: give it; "
        "the input 'depth' does not fit: 'x' is not of type 'integer'"
    )


def test_an_instance_is_made_as_the_specification_shows() -> None:
    instance = WorkflowInstance(workflow=IN_PYTHON, context={"topic": "bees"})

    assert instance.context == {"topic": "bees"}
    assert instance.results == {}
    assert instance.status is TaskState.PENDING
    assert WorkflowInstance.model_validate_json(instance.model_dump_json(by_alias=True)) == instance


def test_an_approval_tells_its_answers_and_its_end() -> None:
    assert Approval(question="?").answer_schema == {}
    assert Approval(question="?", options=["a"]).answer_schema == {"enum": ["a"]}
    assert Approval(question="?", answer={"type": "string"}).answer_schema == {"type": "string"}
    assert Approval(question="?").at_timeout == "reject"
    assert Approval(question="?", default="x").at_timeout == "approve"
    assert Approval(question="?", on_timeout="fail").at_timeout == "fail"


def test_keys_are_with_in_json_and_with_underscore_in_python() -> None:
    assert Work(with_={"a": 1}) == Work.model_validate({"with": {"a": 1}})
    with pytest.raises(InvalidWorkflow, match="with_ is no known key: did you mean 'with'"):
        load("name: x\nsteps:\n  - {id: a, task: t, with_: {}}\n")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("45s", 45), ("2m", 120), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), (90, 90),
     ("1.5s", 1.5), (0.5, 0.5), (" 5m ", 300)],
)  # fmt: skip
def test_durations_are_read(written: object, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "5", "m5", "5 m", "30m1h", "-5s", 0, -1, True, None, "99999w"]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"(write|give) a duration"):
        seconds_of(written)


@given(st.floats(0.001, 10**8))
def test_durations_are_written_as_they_are_read(seconds: float) -> None:
    adapter = TypeAdapter[float](Duration)

    assert seconds_of(text_of(seconds)) == seconds
    assert seconds_of(text_of(float(int(seconds) + 1))) == int(seconds) + 1
    assert adapter.validate_json(adapter.dump_json(seconds)) == seconds


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, None),
        ({}, None),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, None),
        ({"x-note": 1, "title": "t", "nullable": True}, None),
        ({"type": "text"}, "there is no type 'text'"),
        ({"properties": {"a": {"type": 5}}}, "properties.a.type"),
        ({"pattern": "("}, "pattern"),
        ({"minLength": -1}, "minLength"),
        ("string", "a schema is a mapping such as {type: string}, not 'string'"),
        ({"$ref": "https://example.org/schema"}, "points elsewhere"),
        ({"items": {"$ref": "#/a"}}, "points to nothing"),
    ],
)
def test_schemas_are_checked_and_nothing_is_fetched(schema: Any, words: str | None) -> None:
    fault = schema_fault(schema)

    assert (fault is None) == (words is None)
    assert words is None or (fault is not None and words in fault)


def test_a_mismatch_says_where_and_why() -> None:
    schema = {"type": "array", "items": {"type": "string"}}

    assert mismatch(["a"], schema) is None
    assert mismatch(["a", 1], schema) == "[1]: 1 is not of type 'string'"
    assert mismatch(1, {"$ref": "#"}) == "the schema refers to itself without end: change it"
    assert len(mismatch("x" * 999, {"type": "integer"}) or "") < 200


def test_errors_survive_a_pickle() -> None:
    wrong = InvalidWorkflow([Problem("a.yaml", 3, "s", "it is\nwrong"), Problem("b", 0, "", "x")])
    again = pickle.loads(pickle.dumps(wrong))

    assert str(again) == str(wrong) == "a.yaml:3: step s: it is wrong\nb: x"
    assert again.problems == wrong.problems
    told = InvalidExpression("s", "{{ x }}", "no")
    assert str(pickle.loads(pickle.dumps(told))) == str(told)


def test_the_nearest_name_is_offered_or_all() -> None:
    assert nearest("writre", ["writer", "planner"]) == "did you mean 'writer'?"
    assert nearest("zzz", ["b", "a"]) == "there is a, b"
    assert nearest("zzz", []) == "there is none at all"
    assert nearest("zzz", ["a"], "name one") == "name one"
