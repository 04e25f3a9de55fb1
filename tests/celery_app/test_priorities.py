"""Priorities order what waits."""

from __future__ import annotations

from uuid import uuid4

from celery_app.client import Client
from tests.worker_process import WorkerProcess


def test_the_urgent_ones_start_first_whatever_came_first(client: Client) -> None:
    wanted = ["low", "normal", "high", "critical"]
    tasks = [
        {"id": str(uuid4()), "task": "chore.echo", "args": [priority], "priority": priority}
        for priority in wanted
        for _ in range(3)
    ]
    handle = client.submit_graph(tasks)
    # The solo pool takes one message at a time, so the order of the queues is the order of the work.
    with WorkerProcess("--pool", "solo"):
        result = handle.result(timeout=60)
    started = [
        result[event["task_id"]]
        for event in handle.events()
        if event["kind"] == "started" and event["task_id"] in result
    ]
    assert started == [priority for priority in reversed(wanted) for _ in range(3)]
