"""A deadline that will be missed is told of while there is time; one that is missed ends the task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.errors import TaskFailed
from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until
from tests.worker_process import WorkerProcess

PAUSE = 0.5


def pauses(count: int, due_in: float, pause: float = PAUSE) -> list[dict[str, Any]]:
    """Tasks in a row, of which the last has a deadline."""
    tasks: list[dict[str, Any]] = []
    for _ in range(count):
        needed = [task["id"] for task in tasks[-1:]]
        one = {"id": str(uuid4()), "task": "own.pause", "args": [pause], "dependencies": needed}
        tasks.append(one)
    tasks[-1]["deadline"] = (datetime.now(UTC) + timedelta(seconds=due_in)).isoformat()
    return tasks


def look() -> None:
    from celery_app.celery import database
    from celery_app.orchestrator.deadlines import Deadlines

    Deadlines(database).look()


def warnings(handle: TaskHandle) -> list[str]:
    return [event["task_id"] for event in handle.events() if event["kind"] == "at-risk"]


@pytest.fixture(scope="module", autouse=True)
def _measured(client: Client) -> None:
    """Such tasks have been measured."""
    with WorkerProcess():
        client.submit_graph(pauses(4, due_in=60)).result(timeout=30)


def test_what_cannot_be_done_in_time_is_told(client: Client) -> None:
    tasks = pauses(8, due_in=3)
    handle = client.submit_graph(tasks)
    look()
    look()
    last = tasks[-1]["id"]
    assert warnings(handle) == [last], "it is told once"
    risk = client.task(last).tree()["risk"]
    assert "its longest way takes 4 s" in risk
    assert "and 3 more" in risk
    handle.cancel()
    assert client.task(last).tree()["risk"] is None


def test_what_can_be_done_is_not(client: Client) -> None:
    handle = client.submit_graph(pauses(3, due_in=60))
    look()
    assert warnings(handle) == []
    handle.cancel()


def test_a_risk_that_has_passed_is_told_no_more(client: Client) -> None:
    from celery_app.celery import database

    tasks = pauses(4, due_in=1)
    handle = client.submit_graph(tasks)
    look()
    database.rows(
        "UPDATE task SET deadline = deadline + interval '1 hour' WHERE id = :id", id=tasks[-1]["id"]
    )
    look()
    assert client.task(tasks[-1]["id"]).tree()["risk"] is None
    handle.cancel()


def test_a_worker_looks_by_itself(client: Client) -> None:
    """It is told while the first of the tasks run, long before the deadline."""
    tasks = pauses(12, due_in=4, pause=0.6)
    handle = client.submit_graph(tasks)
    with WorkerProcess() as worker:
        wait_until(lambda: warnings(handle) == [tasks[-1]["id"]], 3.5, "nobody has told")
        with pytest.raises(TaskFailed, match="did not succeed"):
            handle.result(timeout=30)
        assert f"task {tasks[-1]['id']} will miss its deadline" in worker.text()
    (error,) = [task["error"] for task in handle.tree()["tasks"] if task["state"] == "failed"]
    assert "deadline" in error["message"]
