"""Results that a task types by its `output`, on the real servers and the embedded model."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.errors import TaskFailed
from celery_app.orchestrator.task_manager import TaskManager
from tests.worker_process import WorkerProcess
from workflows.schemas import mismatch
from workflows.task import Task

pytestmark = pytest.mark.usefixtures("worker")

WORD = {"type": "string", "maxLength": 20}
COLOURS = {"type": "array", "items": WORD, "minItems": 3, "maxItems": 3}


def result(client: Client, name: str, *args: Any, **fields: Any) -> Any:
    """Run a Celery task as a step of a graph; return its result."""
    task = {"id": str(uuid4()), "task": name, "args": list(args), **fields}
    return client.submit_graph([task]).result(timeout=30)[task["id"]]


def test_a_result_that_fits_is_as_it_was(client: Client) -> None:
    output = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert result(client, "chore.echo", {"a": 1, "b": 2}, output=output) == {"a": 1, "b": 2}
    assert result(client, "chore.echo", None, output={"type": "null"}) is None
    assert result(client, "chore.echo", 5, output={}) == 5


def test_a_tuple_is_the_list_that_it_is_read_as(client: Client) -> None:
    output = {"type": "array", "items": {"type": "integer"}}
    assert result(client, "own.pair", 1, 2, output=output) == [1, 2]


def test_a_result_that_does_not_fit_fails_its_task(client: Client) -> None:
    task = {"id": str(uuid4()), "task": "chore.echo", "args": [["a", 5]]}
    after = {"id": str(uuid4()), "task": "chore.echo", "args": [1], "dependencies": [task["id"]]}
    output = {"type": "array", "items": {"type": "string"}}
    handle = client.submit_graph([{**task, "output": output}, after])
    with pytest.raises(TaskFailed, match=r"\[1\]: 5 is not of type 'string'"):
        handle.result(timeout=30)
    first, second = handle.tree()["tasks"]
    assert (first["state"], first["attempts"]) == ("failed", 1)
    assert first["error"]["type"] == "UnfitResult"
    assert second["state"] == "skipped"


def test_the_policy_of_a_task_is_for_results_that_do_not_fit_too(client: Client) -> None:
    policy = {"max": 3, "seconds": 0.1, "on": ["UnfitResult"]}
    assert result(client, "own.tries", output={"minimum": 2}, retry=policy) == 2
    with pytest.raises(TaskFailed, match="3 is less than the minimum of 9"):
        result(client, "own.tries", output={"minimum": 9}, retry=policy)
    with pytest.raises(TaskFailed, match="0 is less than the minimum of 2"):
        result(client, "own.tries", output={"minimum": 2}, retry={**policy, "on": ["Wobble"]})


def test_what_is_collected_must_fit_too(client: Client) -> None:
    def collected(output: dict[str, Any]) -> Any:
        part = Task(task="chore.echo", args=[1])
        whole = Task(description="a graph", subtasks=[part], output=output)
        return client.task(TaskManager().submit(whole)).result(timeout=30)

    assert list(collected({"type": "object"}).values()) == [1]
    with pytest.raises(TaskFailed, match="is not of type 'array'"):
        collected({"type": "array"})


@pytest.mark.model
def test_an_agent_answers_with_a_list(client: Client) -> None:
    job = client.submit("Name three colours.", plan=False, agent="writer", output=COLOURS)
    colours = job.result(timeout=120)
    assert mismatch(colours, COLOURS) is None
    assert job.tree()["agent"] == "writer"


@pytest.mark.model
@pytest.mark.parametrize(
    "output",
    [
        {
            "$defs": {"word": WORD},
            "type": "object",
            "properties": {"name": {"$ref": "#/$defs/word"}, "legs": {"type": "integer"}},
            "required": ["name", "legs"],
        },
        {"type": "integer", "minimum": 1, "maximum": 9},
        {"enum": ["yes", "no"]},
        WORD,
    ],
    ids=["object", "integer", "choice", "text"],
)
def test_an_agent_answers_with_whatever_the_schema_says(
    client: Client, output: dict[str, Any]
) -> None:
    job = client.submit("Tell me about one cat.", plan=False, agent="analyst", output=output)
    assert mismatch(job.result(timeout=120), output) is None


@pytest.mark.model
def test_the_next_task_reads_the_value(client: Client) -> None:
    first, second = str(uuid4()), str(uuid4())
    handle = client.submit_graph(
        [
            {"id": first, "description": "Name three colours.", "output": COLOURS},
            {
                "id": second,
                "description": "Name the last one.",
                "dependencies": [first],
                "output": WORD,
            },
        ]
    )
    values = handle.result(timeout=120)
    assert (len(values[first]), type(values[second])) == (3, str)


@pytest.mark.model
def test_an_agent_that_never_fits_fails_after_its_tries(client: Client) -> None:
    # The server leaves out `not`, so the model cannot know.
    output = {"type": "integer", "minimum": 1, "maximum": 9, "not": {"type": "integer"}}
    graph = client.submit_graph(
        [
            {
                "id": str(uuid4()),
                "description": "Name a number.",
                "output": output,
                "retry": {"max": 1, "seconds": 0.1},
            }
        ]
    )
    with pytest.raises(TaskFailed, match=r"no usable answer in 3 tries: .* should not be valid"):
        graph.result(timeout=120)
    (task,) = graph.tree()["tasks"]
    assert task["attempts"] == 2
    calls = client.task(task["id"]).tree()["calls"]
    assert [call["try"] for call in calls] == [0, 0, 0, 1, 1, 1]


@pytest.mark.model
def test_a_plan_ends_with_what_its_task_asks_for(client: Client) -> None:
    job = client.submit("Write a guide to the harbour", plan=True, output=COLOURS)
    assert mismatch(job.result(timeout=240), COLOURS) is None
    assert job.tree()["plan"] is not None


def test_the_console_takes_a_schema(client: Client, worker: WorkerProcess) -> None:
    from click.testing import CliRunner

    from celery_app.cli.main import cli

    given = ["task", "submit", "--task", "chore.echo", "--arg", "5", "--output"]
    printed = CliRunner().invoke(cli, [*given, '{"type": "string"}'])
    with pytest.raises(TaskFailed, match="5 is not of type 'string'"):
        client.task(printed.stdout.strip()).result(timeout=30)
