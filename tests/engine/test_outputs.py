"""Results that must fit a JSON schema: of agents, and of Celery tasks."""

from __future__ import annotations

import pytest

from celery_app.client import Client
from celery_app.errors import TaskFailed
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import InvalidTask

NAMES = {
    "type": "array",
    "items": {"type": "string", "maxLength": 40},
    "minItems": 2,
    "maxItems": 2,
}
TICKET = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["fault", "question"]},
        "urgent": {"type": "boolean"},
    },
    "required": ["kind", "urgent"],
    "additionalProperties": False,
}


def test_an_agent_answers_with_a_value(client: Client, worker: WorkerProcess) -> None:
    names = client.submit("Name two rivers.", plan=False, output=NAMES).result(timeout=120)
    assert len(names) == 2
    assert all(isinstance(name, str) for name in names)
    ticket = client.submit(
        "What kind of message is this: 'The printer is on fire!'",
        plan=False,
        agent="analyst",
        output=TICKET,
    ).result(timeout=120)
    assert set(ticket) == {"kind", "urgent"}


def test_a_step_gives_a_list_to_the_next(client: Client, worker: WorkerProcess) -> None:
    workflow = load(
        """
name: typed
steps:
  - id: names
    agent: writer
    prompt: Name two rivers.
    output: {type: array, items: {type: string, maxLength: 40}, minItems: 2, maxItems: 2}
  - {id: each, foreach: "{{ steps.names.output }}", task: chore.echo, args: ["{{ item | upper }}"]}
"""
    )
    outputs = client.start_workflow(workflow).result(timeout=120)
    assert len(outputs["each"]) == 2
    assert all(name == name.upper() for name in outputs["each"])


def test_a_result_that_does_not_fit_fails_the_task(client: Client, worker: WorkerProcess) -> None:
    graph = client.submit_graph(
        [{"task": "chore.echo", "args": [["a", 5]], "output": {"items": {"type": "string"}}}]
    )
    with pytest.raises(TaskFailed):
        graph.result(timeout=20)
    [task] = graph.tree()["tasks"]
    assert "does not fit `output`" in task["error"]["message"]
    assert "5" in task["error"]["message"]


def test_what_does_not_fit_is_tried_again_as_the_policy_says(
    client: Client, worker: WorkerProcess
) -> None:
    graph = client.submit_graph(
        [
            {
                "task": "chore.echo",
                "args": [1],
                "output": {"type": "string"},
                "retry": {"max": 2, "seconds": 0.1},
            }
        ]
    )
    with pytest.raises(TaskFailed):
        graph.result(timeout=20)
    assert graph.tree()["tasks"][0]["attempts"] == 3


def test_a_schema_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(InvalidTask, match="output is no JSON schema"):
        client.submit("Name two rivers.", output={"type": "strin"})
