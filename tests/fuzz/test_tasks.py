"""Jobs, tasks, inputs and payloads: any field of any type becomes what can be stored, or is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celery_app.errors import Unstorable
from celery_app.security.vault import decode, encode
from tests.fuzz.doors import (
    Odd,
    anything,
    circle,
    doubled,
    fuzzed,
    jsonish,
    nested,
    real,
    taken,
    texts,
)
from workflows.errors import InvalidInputs, InvalidTask
from workflows.storable import DEEPEST, LONGEST_NAME, LONGEST_TEXT, LONGEST_VALUE, json_fault
from workflows.task import Task
from workflows.workflow import Workflow

ID = "0190c0de-0000-7000-8000-000000000001"

#: Near misses of what the fields want, besides anything at all.
near = st.sampled_from(
    ["", ID, ID.upper(), f"{{{ID}}}", "urgent", "normal", "writing", "1Gi", "9" * 400 + "Gi", "0Gi",
     "2026-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", -1, 0, 1e300, 10**30,
     [ID], [ID, ID], [[ID]], {}, {"max": 10**30}, {"seconds": 1e300, "max": 2}, {"memory": "9e9Gi"},
     {"tokens": 2**70}, [{"name": "a", "text": "\0"}], [{"name": "a" * 600, "text": "x"}],
     {"$ref": "#/nowhere"}, {"type": "strin"}, {"pattern": "("}, [{"description": "x"}], True],
)  # fmt: skip
fields = st.dictionaries(
    st.sampled_from(sorted(Task.model_fields)) | texts, near | anything, max_size=5
)


@fuzzed
@given(fields, st.sampled_from([{}, {"description": "x"}, {"task": "chore.echo"}]))
@example({"metadata": {"a": Odd.HUGE_NUMBER}}, {"description": "x"})
@example({"resource_requirements": {"memory": "9" * 400}}, {"description": "x"})
@example({"metadata": {"a": Odd.ENDLESSLY_NESTED}}, {"description": "x"})
@example({"args": Odd.DOUBLED}, {"task": "chore.echo"})
@example({"output": Odd.NESTED_MAPPINGS}, {"description": "x"})
def test_a_task_is_stored_and_read_back_or_refused(
    given: dict[str, Any], base: dict[str, Any]
) -> None:
    task = taken(lambda: Task.read(real({**base, **given})))
    if task is not None:
        spec = task.model_dump(mode="json", exclude_defaults=True)
        assert Task.read(decode(encode({**spec, "id": str(task.id)}))) == task
        assert "\\u0000" not in json.dumps(spec).replace("\\\\", "")


@fuzzed
@given(anything)
def test_what_is_no_mapping_is_refused(given: Any) -> None:
    if not isinstance(given, dict):
        assert taken(lambda: Task.read(real(given))) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"description": "x" * (LONGEST_TEXT + 1)}, "1,000,001 characters and at most 1,000,000"),
        ({"idempotency_key": "k" * (LONGEST_NAME + 1)}, "a name has at most 500: shorten it"),
        (
            {"metadata": {"a": "x" * (LONGEST_VALUE + 1)}},
            "at most 4,000,000 are taken: put it into",
        ),
        ({"metadata": {"a": nested(DEEPEST + 1)}}, "nested more than 100 deep: flatten it"),
        ({"metadata": {"a": circle()}}, "nested more than 164 deep: flatten it"),
        ({"metadata": {"a": doubled(60)}}, "more than 1,000,000 parts: split it"),
        ({"timeout": 1e300}, "less than or equal to 1000000000"),
        ({"retry": {"max": 10**30}}, "less than or equal to 1000"),
        ({"deadline": "9999-12-31T23:59:59-23:59"}, "years 1 to 9999 in UTC"),
    ],
)
def test_a_limit_is_told_with_what_to_do(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTask, match=words) as refused:
        Task.read({"description": "x", **fields})
    assert len(str(refused.value)) < 400


@fuzzed
@given(anything)
@example(Odd.DEEPLY_NESTED)
def test_a_result_is_kept_or_refused(result: Any) -> None:
    try:
        stored = encode(real(result))
    except Unstorable as error:
        assert "return JSON values" in str(error)
    else:
        decode(stored)


WORKFLOW = Workflow.model_validate(
    {
        "name": "any",
        "inputs": {"a": {"type": "string"}, "b": {"default": 1}, "c": {"type": "array", "default": []}},
        "steps": [{"id": "one", "task": "chore.echo", "with": {"value": "{{ inputs.b }}"}}],
    }
)  # fmt: skip


@fuzzed
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]) | texts, anything, max_size=3))
@example({1: 2})
@example({"a": "x", "b": {"c": Odd.NOT_A_NUMBER}})
@example({"a": "x", "b": Odd.TUPLE})
@example({"a": "\0"})
def test_inputs_of_a_workflow_fit_or_are_refused(given: dict[Any, Any]) -> None:
    inputs = taken(lambda: WORKFLOW.inputs_from(real(given)))
    if inputs is not None:
        assert json_fault(inputs) is None


def test_inputs_are_refused_as_such() -> None:
    with pytest.raises(InvalidInputs, match="'any' cannot start: the inputs: a NUL character"):
        WORKFLOW.inputs_from({"a": "\0"})


@fuzzed
@given(jsonish)
def test_json_passes_as_it_is(value: Any) -> None:
    if json_fault(value) is None:
        assert json.loads(json.dumps(value)) == value
