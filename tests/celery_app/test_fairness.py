"""What waits is started by aged priority, then by deadline; no flood holds anything up for ever."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.handles import TaskHandle
from tests.worker_process import WorkerProcess


def echo(value: Any, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "task": "chore.echo", "args": [value], **fields}


def started(handle: TaskHandle, result: dict[str, Any]) -> list[Any]:
    """Return the values of a graph's tasks in the order in which these were started."""
    return [
        result[event["task_id"]]
        for event in handle.events()
        if event["kind"] == "started" and event["task_id"] in result
    ]


def test_the_earliest_deadline_goes_first_among_equals(client: Client) -> None:
    """More tasks than the broker is given at once: the order holds across its window."""
    now = datetime.now(UTC)
    order = random.Random(5).sample(range(100), 100)
    tasks = [
        echo(number, deadline=(now + timedelta(hours=1, minutes=number)).isoformat())
        for number in order
    ]
    handle = client.submit_graph([*tasks, *(echo(f"none {number}") for number in range(10))])
    # One sender alone: two that release at the same moment may overtake each other on the way to the broker.
    with WorkerProcess("--pool", "solo", AI_AGENT__RECOVERY__ENABLED="false"):
        result = handle.result(timeout=60)
    begun = started(handle, result)
    assert begun[:100] == list(range(100))
    assert len(begun) == 110


def test_only_a_window_of_the_backlog_is_with_the_broker(client: Client) -> None:
    from celery_app.celery import queue

    tasks = [echo(number) for number in range(500)]
    handle = client.submit_graph(tasks)
    waiting = queue.waiting_ids() & {task["id"] for task in tasks}
    assert 0 < len(waiting) <= 32
    with WorkerProcess():
        assert len(handle.result(timeout=60)) == 500


@pytest.mark.parametrize(("minutes", "overtaken"), [(10, range(33)), (0, [60])])
def test_what_waits_rises_until_it_overtakes(
    client: Client, minutes: int, overtaken: Collection[int]
) -> None:
    """A low task that has waited ten minutes goes before urgent ones of now, in the broker too."""
    from celery_app.celery import database

    old = echo("low", priority="low")
    handle = client.submit_graph([old])
    database.rows(
        """
        UPDATE task SET published_at = NULL, queued_at = clock_timestamp() - make_interval(mins => :minutes)
         WHERE id = :id
        """,
        id=old["id"],
        minutes=minutes,
    )
    fresh = [echo("critical", priority="critical") for _ in range(60)]
    urgent = client.submit_graph(fresh)
    with WorkerProcess("--pool", "solo"):
        urgent.result(timeout=60)
        handle.result(timeout=60)
    low = next(event["id"] for event in handle.events() if event["kind"] == "started")
    before = sum(
        event["kind"] == "started" and event["id"] < low and event["task_id"] != str(urgent.id)
        for event in urgent.events()
    )
    # Those that were with the broker before it had its turn, and not one more; or else all.
    assert before in overtaken
