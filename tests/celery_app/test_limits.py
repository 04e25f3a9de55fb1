"""Limits hold across all workers, and a task that waits for one says so."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.errors import BudgetHeld, BudgetSpent
from celery_app.handles import TaskHandle
from celery_app.store.records import Claim
from celery_app.testing.processes import wait_until
from tests.worker_process import WorkerProcess
from workflows.errors import InvalidTask


def sleep(seconds: float, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "task": "chore.sleep", "args": [seconds], **fields}


def times(handle: TaskHandle) -> list[tuple[datetime, datetime]]:
    """Return when each subtask began and ended."""
    return sorted(
        (datetime.fromisoformat(task["started_at"]), datetime.fromisoformat(task["finished_at"]))
        for task in handle.tree()["tasks"]
    )


def most_at_once(handle: TaskHandle) -> int:
    spans = times(handle)
    return max(sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans)


@pytest.fixture
def two_workers(client: Client) -> Any:
    with WorkerProcess() as first, WorkerProcess() as second:
        yield first, second


@pytest.mark.usefixtures("two_workers")
def test_tasks_with_one_key_run_one_at_a_time(client: Client) -> None:
    name = uuid4().hex
    keyed = client.submit_graph([sleep(0.1, concurrency_key=name) for _ in range(8)])
    free = client.submit_graph([sleep(0.3) for _ in range(8)])
    keyed.result(timeout=30)
    free.result(timeout=30)
    assert most_at_once(keyed) == 1
    assert most_at_once(free) > 1


@pytest.mark.usefixtures("two_workers")
def test_as_many_of_a_project_run_as_its_limit_says(client: Client) -> None:
    tasks = [sleep(0.2) for _ in range(12)]
    handle = client.submit_graph(tasks, project=f"narrow-{uuid4().hex[:6]}")
    handle.result(timeout=30)
    assert most_at_once(handle) == 3


@pytest.mark.usefixtures("two_workers")
def test_no_more_start_than_the_rate_says(client: Client) -> None:
    """Four a second, and at most one second's worth can be made up for."""
    handle = client.submit_graph([sleep(0.01) for _ in range(20)], project="slow")
    handle.result(timeout=30)
    begun = [start for start, _ in times(handle)]
    assert begun[-1] - begun[0] > timedelta(seconds=2.9)
    second = timedelta(seconds=1)
    assert max(sum(start <= one < start + second for one in begun) for start in begun) <= 9


@pytest.mark.usefixtures("two_workers")
def test_processors_are_shared(client: Client) -> None:
    """The configured total is 8, of which each of these takes 1; small ones go on beside them."""
    big = client.submit_graph(
        [sleep(0.3, resource_requirements={"cpu": 1.0, "memory": "64Mi"}) for _ in range(20)]
    )
    big.result(timeout=30)
    assert most_at_once(big) == 8


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"cpu": 1.5}, "1.5 processors and may have 1: .*resources.cpu.limit_per_agent"),
        ({"memory": "2Gi"}, "2Gi of memory and may have 1Gi: .*resources.memory.limit_per_agent"),
    ],
)
def test_what_could_never_run_is_refused(client: Client, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTask, match=words):
        client.submit_graph([sleep(0.1, resource_requirements=asked)])


def test_a_key_on_a_container_is_refused(client: Client) -> None:
    with pytest.raises(InvalidTask, match="give the key to those subtasks"):
        client.submit_graph(
            [
                {
                    "id": str(uuid4()),
                    "description": "both",
                    "concurrency_key": "k",
                    "subtasks": [sleep(0.1)],
                }
            ]
        )


def why(client: Client, task: dict[str, Any]) -> str:
    reason = client.task(task["id"]).tree()["reason"]
    assert isinstance(reason, str), "the task runs or is over"
    return reason


def test_a_task_says_why_it_is_not_running(client: Client) -> None:
    name = uuid4().hex
    holder = sleep(20, concurrency_key=name)
    second = sleep(0.1, concurrency_key=name)
    after = sleep(0.1, dependencies=[holder["id"], second["id"]])
    handle = client.submit_graph([holder, second, after])
    assert "is with the broker in queue tasks" in why(client, holder)
    assert f"key:{name} has room for 0: 1 of 1 are taken" in why(client, second)
    assert why(client, after) == f"needs {holder['id']} (queued), {second['id']} (queued)"
    with WorkerProcess():
        wait_until(lambda: client.task(holder["id"]).state == "running", 20, "it did not start")
        assert holder["id"] in why(client, second)
        assert client.task(holder["id"]).tree()["reason"] is None
        assert handle.tree()["reason"] == "its subtasks: 1 pending, 1 queued, 1 running"
        # What a task gives back is given to the next one at once.
        client.task(holder["id"]).cancel()
        wait_until(lambda: client.task(second["id"]).state == "succeeded", 20, "it did not follow")
    assert client.task(second["id"]).tree()["reason"] is None


def test_a_key_is_given_back_by_a_worker_that_dies(client: Client) -> None:
    name = uuid4().hex
    first, second = sleep(0.2, concurrency_key=name), sleep(0.2, concurrency_key=name)
    slow = sleep(30, concurrency_key=f"{name}-slow")
    handle = client.submit_graph([first, second, slow])
    with WorkerProcess() as worker:
        wait_until(lambda: client.task(slow["id"]).state == "running", 20, "it did not start")
        worker.kill()
    with WorkerProcess():
        wait_until(lambda: client.task(second["id"]).state == "succeeded", 30, "it did not run")
        handle.cancel()


def test_what_a_dead_worker_held_of_a_budget_is_free(client: Client) -> None:
    from celery_app.celery import database, executions
    from celery_app.store.budgets import BudgetStore

    budgets = BudgetStore(database)
    tasks = [sleep(0.1) for _ in range(2)]
    handle = client.submit_graph(tasks, resources={"tokens": 1000})
    first, second = (executions.claim(task["id"], "chore.sleep", "a test", 60) for task in tasks)
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    budgets.hold(first, 900)
    budgets.hold(first, 900)
    with pytest.raises(BudgetHeld, match="of 1000 tokens, 0 are used, 900 held"):
        budgets.hold(second, 200)
    with pytest.raises(BudgetSpent, match="the next may take 1001"):
        budgets.hold(second, 1001)
    database.rows(
        "UPDATE task SET lease_until = clock_timestamp() - interval '1 s' WHERE id = :id",
        id=first.id,
    )
    executions.requeue_expired(limit=3)
    budgets.hold(second, 200)
    handle.cancel()
