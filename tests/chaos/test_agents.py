"""Jobs for agents on the real embedded model, while workers die: no second plan, no call repeated."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from celery_app.client import Client
from celery_app.errors import WaitTimeout
from celery_app.handles import TaskHandle
from tests.worker_process import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.model, pytest.mark.timeout(300)]

DOCUMENT = """# The mill

## The wheel

The mill on the river Aller has one wheel. It was built in 1804 by the joiner Hannes Brandt. The wheel
is six metres high and turns four times a minute.

## The visitors

In 2024 the mill had 3,200 visitors. Entrance is free on Sundays. A tour takes forty minutes.
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "mill.md"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


def submit(client: Client, document: Path) -> TaskHandle:
    return client.submit(
        "Summarise the parts of this document and bring them together",
        inputs=[document],
        plan=True,
    )


def assert_planned_once_and_nothing_asked_twice(handle: TaskHandle) -> None:
    from celery_app.celery import database

    plans = database.rows("SELECT version FROM plan WHERE task_id = :id", id=str(handle.id))
    assert [row.version for row in plans] == [1]
    calls = database.rows(
        """
        SELECT c.task_id, c.digest, count(*) AS times FROM model_call c JOIN task t ON t.id = c.task_id
         WHERE t.root_id = :id GROUP BY c.task_id, c.digest
        """,
        id=str(handle.id),
    )
    assert calls
    assert all(row.times == 1 for row in calls)
    tree = handle.tree()
    used = sum(task["tokens"]["prompt"] for task in tree["tasks"])
    assert tree["tokens"]["prompt"] == used + tree["plan"]["tokens"]["prompt"]
    ends = [event["task_id"] for event in handle.events() if event["kind"] == "succeeded"]
    assert len(ends) == len(set(ends)) == len(handle.tree()["tasks"]) + 1


def test_a_worker_dies_between_the_plan_and_the_subtasks(
    client: Client, document: Path, tmp_path: Path
) -> None:
    with WorkerProcess(AI_AGENT_CRASH_AT=f"after-expand:{tmp_path / 'died'}") as doomed:
        handle = submit(client, document)
        assert doomed.wait(timeout=120) == -9
    assert handle.state == "expanded"
    with WorkerProcess():
        assert handle.result(timeout=200).strip()
    assert_planned_once_and_nothing_asked_twice(handle)


@pytest.mark.faults_long
def test_without_recovery_the_subtasks_are_never_sent(
    client: Client, document: Path, tmp_path: Path
) -> None:
    off = {"AI_AGENT__RECOVERY__ENABLED": "false"}
    with WorkerProcess(AI_AGENT_CRASH_AT=f"after-expand:{tmp_path / 'died'}", **off) as doomed:
        handle = submit(client, document)
        assert doomed.wait(timeout=120) == -9
    with WorkerProcess(**off), pytest.raises(WaitTimeout):
        handle.result(timeout=15)
    assert {task["attempts"] for task in handle.tree()["tasks"]} == {0}
    handle.cancel()


def test_a_worker_dies_in_the_middle_of_a_model_call(client: Client, document: Path) -> None:
    with WorkerProcess() as doomed:
        handle = submit(client, document)
        while not any(task["state"] == "running" for task in handle.tree()["tasks"]):
            assert handle.state not in {"failed", "succeeded"}
            time.sleep(0.05)
        doomed.kill()
    with WorkerProcess():
        assert handle.result(timeout=200).strip()
    assert_planned_once_and_nothing_asked_twice(handle)
    assert any(event["kind"] == "lost" for event in handle.events())
