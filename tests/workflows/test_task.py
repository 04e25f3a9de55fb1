from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.errors import InvalidTask
from workflows.storable import bytes_of
from workflows.task import (
    Capability,
    Priority,
    ResourceRequirements,
    SecurityLevel,
    SecurityRequirements,
    Task,
    TaskInput,
    TaskType,
)


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_a_description_is_enough() -> None:
    task = Task(description="Write a haiku")

    assert task.type is TaskType.GENERAL
    assert task.priority is Priority.NORMAL
    assert task.deadline is None
    assert task.required_capabilities == set()
    assert task.resource_requirements == ResourceRequirements()
    assert task.security_requirements.level is SecurityLevel.INTERNAL
    assert not task.security_requirements.network
    assert (task.plan, task.retry.max, task.timeout) == (None, 0, None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"description": ""}, "nothing to do: give a description"),
        ({"description": " \n"}, "nothing to do: give a description"),
        ({"task": " "}, "task ' ': it is blank"),
        ({"priority": "urgent"}, "priority 'urgent': Input should be 'low', 'normal', 'high' or"),
        ({"type": "magic"}, "type 'magic'"),
        ({"id": "7"}, "id '7'"),
        ({"deadline": datetime(2026, 1, 1)}, "deadline '2026-01-01 00:00:00': .* timezone"),
        ({"deadline": "2026-01-01T00:00:00"}, "timezone"),
        ({"deadline": "1785542400"}, "date and time with their zone"),
        ({"deadline": True}, "date and time with their zone"),
        ({"dependencies": ["A"]}, r"dependencies\.0 'A'"),
        ({"required_capabilities": ["flying"]}, r"required_capabilities\.0 'flying'"),
        ({"args": [1]}, "args and kwargs go to a Celery task"),
        ({"kwargs": {"a": 1}}, "args and kwargs go to a Celery task"),
        ({"task": "t", "args": [(1,)]}, "JSON would change it"),
        ({"task": "t", "args": [{1}]}, "not JSON"),
        ({"task": "t", "args": [float("nan")]}, "not JSON"),
        ({"task": "t", "kwargs": {"a": {1: 2}}}, "JSON would change it"),
        ({"task": "t", "kwargs": {"a": "\0"}}, "NUL"),
        ({"task": "t", "args": ["\ud800"]}, "surrogates not allowed"),
        ({"metadata": {"at": datetime(2026, 1, 1, tzinfo=UTC)}}, "not JSON"),
        ({"description": "a\0b"}, "NUL"),
        ({"description": "\udfff"}, "surrogate"),
        ({"inputs": [{"name": "a", "text": ""}] * 2}, "two inputs are named 'a'"),
        ({"inputs": [{"name": "", "text": ""}]}, r"inputs\.0\.name ''"),
        ({"retry": {"max": -1}}, "retry.max '-1'"),
        ({"timeout": 0}, "timeout '0'"),
        ({"timeout": float("inf")}, "timeout 'inf'"),
        ({"output": []}, r"output '\[\]': Input should be a valid dictionary"),
        (
            {"output": {"type": "strin"}},
            "output .*: type: there is no type 'strin': did you mean 's",
        ),
        ({"output": {"itmes": {}}}, "output .*: 'itmes' means nothing in a schema: did you mean i"),
        ({"output": {"$ref": "#/$defs/a"}}, "output .*points to nothing: correct it"),
        ({"output": {"enum": [(1,)]}}, "output .*: JSON would change it"),
        ({"output": _nested(300)}, "it is nested more than 164 deep: flatten it"),
        ({"colour\nred": 1}, "colour red '1'"),
        ({"resource_requirements": {"cpu": -1}}, r"resource_requirements\.cpu '-1'"),
        ({"resource_requirements": {"memory": "0Gi"}}, "give a size above zero"),
        ({"resource_requirements": {"memory": "much"}}, "give a size above zero"),
        ({"resource_requirements": {"tokens": 0}}, r"resource_requirements\.tokens '0'"),
        ({"security_requirements": {"level": "top"}}, r"security_requirements\.level 'top'"),
        ({"subtasks": [{"description": "x", "priority": 5}]}, r"subtasks\.0\.priority '5'"),
    ],
)
def test_what_cannot_be_a_task_is_refused_in_one_line(fields: dict[str, Any], words: str) -> None:
    given_fields = {"description": "x", **fields} if "task" not in fields else fields

    with pytest.raises(InvalidTask, match=words) as caught:
        Task.read(given_fields)

    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the task is refused: ")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidTask, match=r"priority 'x': .*; timeout '-1': "):
        Task.read({"description": "x", "priority": "x", "timeout": -1})


def test_an_assignment_is_checked_too() -> None:
    task = Task(description="x")

    with pytest.raises(ValidationError):
        task.priority = "urgent"  # type: ignore[assignment]

    task.subtasks = [Task(description="y")]
    assert [each.description for each in task.walk()] == ["x", "y"]


def test_a_task_comes_back_from_json_as_it_went() -> None:
    task = Task(
        description="x",
        type=TaskType.DATA,
        task="shop.count",
        args=[1, "two"],
        kwargs={"three": [3.0, None]},
        deadline=datetime(2030, 1, 1, tzinfo=UTC),
        dependencies=[uuid4()],
        inputs=[TaskInput(name="a", text="b")],
        required_capabilities={Capability.WRITING, Capability.CODING},
        resource_requirements=ResourceRequirements(memory="1Gi", cpu=0.5),
        security_requirements=SecurityRequirements(allowed_tools={"b", "a"}, network=True),
        subtasks=[Task(description="y", subtasks=[Task(description="z")])],
        output={"type": "array", "items": {"type": "string"}},
    )

    assert Task.model_validate_json(task.model_dump_json()) == task
    assert Task.read(task.model_dump(mode="json")) == task
    assert json.loads(task.model_dump_json())["required_capabilities"] == ["coding", "writing"]


@given(st.dictionaries(st.text(), json_values))
def test_metadata_is_refused_or_comes_back_unchanged(metadata: dict[str, Any]) -> None:
    try:
        task = Task.read({"description": "x", "metadata": metadata})
    except InvalidTask:
        return

    text = json.dumps(task.metadata, allow_nan=False)
    assert json.loads(text) == metadata
    assert all("\0" not in word for word in _words(metadata))


def test_text_that_only_looks_like_a_nul_is_kept() -> None:
    assert Task(task="t", args=["\\u0000"]).args == ["\\u0000"]


def test_walk_names_parents_first_and_siblings_in_order() -> None:
    b = Task(description="b", subtasks=[Task(description="c")])
    tree = Task(description="a", subtasks=[b, Task(description="d")])

    assert [task.description for task in tree.walk()] == ["a", "b", "c", "d"]


def test_priorities_are_ordered_by_urgency() -> None:
    assert sorted(Priority, reverse=True)[::-1] == ["low", "normal", "high", "critical"]
    assert [priority.level for priority in Priority] == [9, 6, 3, 0]
    assert Priority.LOW < Priority.NORMAL <= Priority.NORMAL
    assert Priority.CRITICAL > "high"
    assert Priority.HIGH >= "high"
    assert max(Priority) is Priority.CRITICAL


@pytest.mark.parametrize(
    ("size", "count"),
    [("1", 1), ("1K", 1000), ("1Ki", 1024), ("1.5Gi", 1_610_612_736), ("2T", 2 * 10**12)],
)
def test_sizes_in_bytes(size: str, count: int) -> None:
    assert bytes_of(size) == count
    assert ResourceRequirements(memory=size).memory_bytes == count


def test_no_size_is_no_limit() -> None:
    assert ResourceRequirements().memory_bytes is None


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [word for item in value.items() for part in item for word in _words(part)]
    return [word for part in value for word in _words(part)] if isinstance(value, list) else []


def test_requirements_cover_those_of_parts() -> None:
    parts = [
        SecurityRequirements(level="public", allowed_tools={"a"}),
        SecurityRequirements(level="secret", allowed_tools={"b"}, network=True),
    ]
    assert SecurityRequirements.covering(parts) == SecurityRequirements(
        level="secret", allowed_tools={"a", "b"}, network=True
    )
    assert SecurityRequirements.covering([]) == SecurityRequirements()
