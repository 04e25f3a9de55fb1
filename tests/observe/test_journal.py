"""One journal of a run: states, plans, calls, questions and alerts in one order, told while they happen."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from celery_app.celery import database
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.orchestrator.following import Pushes
from celery_app.store.events import RunEvents
from celery_app.store.journal import JournalStore
from tests.worker_process import WorkerProcess

REPLY = {
    "model": "m",
    "host": "h",
    "usage": {
        "prompt": 1, "generated": 2,
        "load_seconds": 0.1, "prompt_seconds": 0.2, "generate_seconds": 0.3,
    },
}  # fmt: skip


@pytest.fixture
def handle(client: Client) -> TaskHandle:
    return client.submit_graph([{"id": str(uuid4()), "task": "own.echo", "args": [1]}])


def kinds(handle: TaskHandle) -> list[tuple[str, str | None]]:
    return [(event["kind"], event["cause"]) for event in handle.events()]


def test_calls_are_events_once(handle: TaskHandle) -> None:
    journal, task_id = JournalStore(database), str(handle.id)
    for _ in range(2):
        journal.record(task_id, 0, 1, "digest", 1.0, REPLY)
    journal.record(task_id, 0, 2, "other", 1.0, REPLY)
    assert kinds(handle)[-2:] == [("called", "call 0.1"), ("called", "call 0.2")]
    assert "called     " in CliRunner().invoke(cli, ["task", "events", task_id]).output


def test_plans_are_events(handle: TaskHandle) -> None:
    database.rows(
        "INSERT INTO plan (task_id, version, source, tries, body) VALUES (:id, 1, 'model', 1, '')",
        id=str(handle.id),
    )
    assert kinds(handle)[-1] == ("planned", "plan 1")
    shown = CliRunner().invoke(cli, ["task", "events", str(handle.id)]).output
    assert f"{handle.id}  plan 1\n" in shown


def test_questions_and_answers_are_events(client: Client, tmp_path: Path) -> None:
    workflow = tmp_path / "ask.yaml"
    workflow.write_text(
        "name: ask\nsteps:\n"
        "  - {id: sure, approval: {question: 'Sure?'}}\n"
        "  - {id: late, approval: {question: 'Now?', timeout: 1s, on_timeout: reject}}\n"
    )
    with WorkerProcess("-c", "2"):
        run = client.start_workflow(workflow)
        for event in run.events(follow=True):
            if event["kind"] == "asked":
                run.approve("sure", by="ann")
                break
        run.result(timeout=60)
    told = [each for each in kinds(run) if each[0] in ("asked", "answered")]
    assert told == [
        ("asked", None), ("answered", "ann"), ("asked", None), ("answered", "the clock"),
    ]  # fmt: skip


def test_what_is_committed_late_is_not_missed(handle: TaskHandle) -> None:
    root = str(handle.id)
    events = RunEvents(database, root)
    before = [event["id"] for event in events.fresh()]
    insert = text("INSERT INTO event (task_id, root_id, kind) VALUES (:id, :id, :kind)")
    with database.session() as late:
        with late.execution_options(isolation_level="READ COMMITTED").begin():
            late.execute(insert, {"id": root, "kind": "late"})
            database.rows(str(insert), id=root, kind="early")
            assert [event["kind"] for event in events.fresh()] == ["early"]
            assert events.fresh() == []
        assert [event["kind"] for event in events.fresh()] == ["late"]
    assert events.fresh() == []
    assert before


def test_an_event_wakes_whoever_follows(handle: TaskHandle) -> None:
    root = str(handle.id)
    pushes = Pushes(database, RunEvents(database, root))
    try:
        pushes.wait(1)
        pushes.wait(1)
        timer = threading.Timer(
            0.2,
            database.rows,
            ["INSERT INTO event (task_id, root_id, kind) VALUES (:id, :id, 'told')"],
            {"id": root},
        )
        begun = time.monotonic()
        timer.start()
        pushes.wait(60)
        timer.join()
        assert time.monotonic() - begun < 4, "nobody looks by himself before five seconds are over"
    finally:
        pushes.close()


def test_tool_calls_are_events(handle: TaskHandle) -> None:
    database.rows(
        """
        INSERT INTO tool_call (task_id, try, number, tool, digest, refused, payload)
        VALUES (:id, 1, 3, 'calculate', '', false, '')
        """,
        id=str(handle.id),
    )
    assert kinds(handle)[-1] == ("used-tool", "tool call 1.3")
