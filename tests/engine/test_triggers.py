"""Triggers that change while beat runs; events, webhooks, and runs that start others."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from celery_app.client import Client
from celery_app.orchestrator import triggers as module
from celery_app.orchestrator.triggers import Triggers, check_signature
from celery_app.orchestrator.workflow_engine import WorkflowEngine
from celery_app.orchestrator.workflow_files import WorkflowFiles
from tests.engine.clock import Clock, nothing
from tests.leftovers import begin_anew
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import InvalidInputs, InvalidWorkflow, WorkflowError
from workflows.workflow import Workflow

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_triggers_are_added_changed_and_removed_while_beat_runs(
    client: Client, tmp_path: Path
) -> None:
    begin_anew()
    clock = Clock(datetime(2026, 6, 1, 9, 30, tzinfo=UTC))
    triggers = Triggers(WorkflowFiles(tmp_path), clock=clock)
    file = tmp_path / "flow.yaml"

    def write(trigger: str) -> None:
        file.write_text(
            f"name: flow\ntriggers: [{{{trigger}}}]\nsteps: [{{id: a, task: chore.echo, args: [1]}}]"
        )
        triggers.refresh()

    write("interval: 1h")
    (tmp_path / "broken.yaml").write_text("steps: 5")
    triggers.refresh()
    assert [each["says"] for each in triggers.listed()] == [{"interval": "1h"}]
    write("interval: 2h")
    assert [each["says"] for each in triggers.listed()] == [{"interval": "2h"}]
    triggers.add("flow", {"event": "ring"})
    write("interval: 3h")
    assert {each["kind"] for each in triggers.listed()} == {"interval", "event"}
    with pytest.raises(InvalidWorkflow, match="waits for one thing"):
        triggers.add("flow", {"event": "ring", "interval": "1h"})
    file.write_text("name: flow\nsteps: 5")
    triggers.refresh()
    # A file with a mistake changes nothing; one that is gone takes its triggers along.
    assert len(triggers.listed()) == 2
    file.unlink()
    triggers.refresh()
    assert triggers.listed() == []


def test_a_changed_workflow_inside_another_reaches_its_next_runs(
    client: Client, tmp_path: Path
) -> None:
    from celery_app.celery import triggers as stored

    triggers = Triggers(WorkflowFiles(tmp_path))
    inner = tmp_path / "inside-it.yaml"
    inner.write_text("name: inside-it\nsteps: [{id: a, task: chore.echo, args: [1]}]")
    (tmp_path / "around-it.yaml").write_text(
        "name: around-it\ntriggers: [{event: ring}]\nsteps: [{id: call, workflow: inside-it}]"
    )
    triggers.refresh()
    before = stored.registered()["around-it"]
    inner.write_text("name: inside-it\nsteps: [{id: a, task: chore.echo, args: [22]}]")
    triggers.refresh()
    after = stored.registered()["around-it"]
    assert before.digest == after.digest
    assert before.inside != after.inside


def test_workflows_that_would_start_each_other_for_ever_are_refused(client: Client) -> None:
    def after(name: str, other: str) -> Workflow:
        return load(
            f"name: {name}\ntriggers: [{{after: {other}}}]\nsteps: [{{id: a, task: chore.echo}}]"
        )

    client.register_workflow(after("north", "south"))
    with pytest.raises(
        WorkflowError, match=r"(north -> south|south -> north) -> \w+ would start each other"
    ):
        client.register_workflow(after("south", "north"))
    client.register_workflow(after("south", "east"))


EVENTFUL = """
name: eventful
inputs: {word: {type: string}}
triggers:
  - {event: ring, with: {word: "{{ run.event.word }}"}}
steps: [{id: a, task: chore.echo, args: ["{{ inputs.word }} {{ run.trigger }}"]}]
"""


def test_an_event_starts_each_workflow_that_waits_for_it_once(
    client: Client, worker: WorkerProcess
) -> None:
    client.register_workflow(load(EVENTFUL))
    [first] = client.emit("ring", {"word": "hello"}, key="1")
    [again] = client.emit("ring", {"word": "hello"}, key="1")
    assert first.id == again.id
    assert first.result(timeout=20) == {"a": "hello event"}
    assert client.emit("other") == []
    # What does not fit is told with the trigger, and starts nothing.
    assert client.emit("ring", {"word": 5}) == []
    [shown] = Triggers().listed("eventful")
    assert "the input 'word' does not fit" in shown["error"]


def test_a_run_that_succeeds_starts_those_that_wait_for_it(
    client: Client, worker: WorkerProcess, tmp_path: Path
) -> None:
    first = load("name: first-one\nsteps: [{id: a, task: chore.echo, args: [7]}]")
    then = load(
        """
name: then
inputs: {number: {type: integer}}
triggers: [{after: first-one, with: {number: "{{ run.event.outputs.a }}"}}]
steps: [{id: b, task: chore.echo, args: ["{{ inputs.number + 1 }}"]}]
"""
    )
    client.register_workflow(then)
    run = WorkflowEngine({}).start(first, {})
    client.run(run).result(timeout=20)
    [follower] = client.runs("then")
    assert follower["trigger"] == "after"
    assert client.run(follower["id"]).result(timeout=20) == {"b": 8}


def test_a_webhook_must_be_signed(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery_app.sections import Protected

    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    known = {
        "shop": Protected.model_validate(
            {"password_file": str(secret)}, context={"folder": tmp_path}
        )
    }
    from celery_app.celery import settings

    monkeypatch.setattr(module, "settings", settings.model_copy(update={"webhooks": known}))
    now = datetime(2026, 6, 1, tzinfo=UTC)
    at = int(now.timestamp())
    body = b'{"order": 5}'
    signature = f"t={at},v1={hmac.new(b's3cret', f'{at}.'.encode() + body, 'sha256').hexdigest()}"
    check_signature("shop", body, signature, now)
    triggers = Triggers(clock=Clock(now))
    workflow = load(
        """
name: shop
inputs: {order: {type: integer}}
triggers: [{webhook: shop, with: {order: "{{ run.event.order }}"}}]
steps: [{id: a, task: chore.echo, args: ["{{ inputs.order }}"]}]
"""
    )
    triggers.register(workflow, nothing)
    [run_id] = triggers.webhook("shop", body, {"order": 5}, signature)
    assert triggers.webhook("shop", body, {"order": 5}, signature) == [run_id]
    assert client.run(run_id).tree()["inputs"] == {"order": 5}
    for wrong in (
        (b"{}", signature, now),
        (body, signature, now + timedelta(minutes=6)),
        (body, f"t={at},v1=00", now),
        (body, "nonsense", now),
    ):
        with pytest.raises(InvalidInputs, match="webhook shop"):
            check_signature("shop", *wrong)
