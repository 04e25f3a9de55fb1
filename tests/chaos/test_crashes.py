"""Processes die at the worst lines, the broker forgets everything: the graph still completes, each
task recorded once. Each fault has a control: with recovery switched off the same test must fail.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import redis

from celery_app.client import Client
from celery_app.errors import WaitTimeout
from celery_app.handles import TaskHandle
from tests.chores import chore
from tests.leftovers import cancel_leftovers
from tests.worker_process import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.usefixtures("alone")]

PLACES = ["before-commit", "after-commit", "before-publish", "after-publish"]


@pytest.fixture
def alone(client: Client) -> None:
    """Nothing of other tests is there on which a worker could die instead."""
    cancel_leftovers(client)


def bow_tie() -> list[dict[str, Any]]:
    """Chains, a fan and joins: every way in which a task is released."""
    head = chore("echo", 0)
    second = chore("echo", 1, head)
    fan = [chore("sleep", 0.05, second) for _ in range(4)]
    join = chore("echo", 2, *fan)
    tail = chore("echo", 3, join)
    return [head, second, *fan, join, tail]


def assert_each_recorded_once(handle: TaskHandle, tasks: list[dict[str, Any]]) -> None:
    ends = [event["task_id"] for event in handle.events() if event["kind"] == "succeeded"]
    assert sorted(ends) == sorted([*(task["id"] for task in tasks), str(handle.id)])


@pytest.mark.parametrize("place", PLACES)
def test_a_worker_dies_and_the_next_one_finishes(
    client: Client, tmp_path: Path, place: str
) -> None:
    tasks = bow_tie()
    with WorkerProcess(AI_AGENT_CRASH_AT=f"{place}:{tmp_path / 'died'}") as doomed:
        handle = client.submit_graph(tasks)
        assert doomed.wait(timeout=30) == -9
    with WorkerProcess():
        result = handle.result(timeout=60)
    assert result == {task["id"]: task["args"][0] for task in tasks}
    assert_each_recorded_once(handle, tasks)


@pytest.mark.parametrize(
    "place",
    [
        "after-commit",
        *(
            pytest.param(one, marks=pytest.mark.faults_long)
            for one in PLACES
            if one != "after-commit"
        ),
    ],
)
def test_without_recovery_the_same_death_strands_the_graph(
    client: Client, tmp_path: Path, place: str
) -> None:
    off = {"AI_AGENT__RECOVERY__ENABLED": "false"}
    with WorkerProcess(AI_AGENT_CRASH_AT=f"{place}:{tmp_path / 'died'}", **off) as doomed:
        handle = client.submit_graph(bow_tie())
        assert doomed.wait(timeout=30) == -9
    with WorkerProcess(**off), pytest.raises(WaitTimeout):
        handle.result(timeout=8)
    handle.cancel()


def test_the_broker_forgets_everything(client: Client) -> None:
    from celery_app.celery import settings

    tasks = [chore("sleep", 0.3) for _ in range(40)]
    join = chore("echo", "done", *tasks)
    with WorkerProcess("--concurrency", "2"):
        handle = client.submit_graph([*tasks, join])
        while not any(event["kind"] == "succeeded" for event in handle.events()):
            time.sleep(0.05)
        broker_of(settings.broker_url).flushall()
        assert handle.result(timeout=60)[join["id"]] == "done"
    assert_each_recorded_once(handle, [*tasks, join])


def test_a_backlog_is_not_mistaken_for_a_loss(client: Client) -> None:
    tasks = [chore("sleep", 0.5) for _ in range(12)]
    with WorkerProcess("--concurrency", "1"):
        handle = client.submit_graph(tasks)
        handle.result(timeout=60)
    sent = [event["task_id"] for event in handle.events() if event["kind"] == "published"]
    assert sorted(sent) == sorted([*(task["id"] for task in tasks), str(handle.id)])


def broker_of(url: str) -> redis.Redis:
    if url.startswith("redis+socket://"):
        return redis.Redis(unix_socket_path=url.removeprefix("redis+socket://").split("?")[0])
    return redis.Redis.from_url(url)
