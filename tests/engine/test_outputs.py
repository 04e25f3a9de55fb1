"""Typed outputs of steps; those of tasks have their own tests."""

from __future__ import annotations

from celery_app.client import Client
from tests.worker_process import WorkerProcess
from workflows.definitions import load


def test_a_step_gives_a_list_to_the_next(client: Client, worker: WorkerProcess) -> None:
    workflow = load(
        """
name: typed
steps:
  - id: names
    agent: writer
    prompt: Name two rivers.
    output: {type: array, items: {type: string, maxLength: 40}, minItems: 2, maxItems: 2}
    retry: {max: 2, seconds: 0.1}
  - {id: each, foreach: "{{ steps.names.output }}", task: chore.echo, args: ["{{ item | upper }}"]}
"""
    )
    outputs = client.start_workflow(workflow).result(timeout=120)
    assert len(outputs["each"]) == 2
    assert all(name == name.upper() for name in outputs["each"])


def test_what_a_step_gives_is_checked(client: Client, worker: WorkerProcess) -> None:
    workflow = load(
        """
name: checked
steps:
  - {id: whole, task: chore.echo, args: [1], output: {type: string}, on_error: continue}
  - id: items
    needs: []
    foreach: [a, 5]
    task: chore.echo
    args: ["{{ item }}"]
    output: {type: string}
    on_error: continue
  - id: inside
    needs: []
    workflow: nightly-docs
    with: {notes: []}
    output: {required: [nothing]}
    on_error: continue
"""
    )
    run = client.start_workflow(workflow)
    run.result(timeout=60)
    steps = {step["id"]: step for step in run.tree()["steps"]}
    assert {step["state"] for step in steps.values()} == {"error"}
    assert "is not as output says" in steps["whole"]["error"]["message"]
    assert steps["items"]["error"]["message"].startswith("item 2 of 2 failed")
    assert "nothing" in steps["inside"]["error"]["message"]
