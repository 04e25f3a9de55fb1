"""What whoever hears Celery's events is told of tasks that no worker speaks of."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.testing.processes import wait_until
from tests.worker_process import WorkerProcess


@contextmanager
def heard() -> Iterator[list[dict[str, Any]]]:
    """Hear Celery's events, as Flower does."""
    from celery_app.celery import app

    events: list[dict[str, Any]] = []
    ended, hears = threading.Event(), threading.Event()

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": events.append})
            while not ended.is_set():
                with suppress(TimeoutError):
                    hears.set()
                    receiver.capture(limit=None, timeout=0.5, wakeup=False)

    listener = threading.Thread(target=listen)
    listener.start()
    hears.wait(10)
    try:
        yield events
    finally:
        ended.set()
        listener.join()


def step(task: str, *args: Any, needs: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    needed = [one["id"] for one in needs]
    return {"id": str(uuid4()), "task": task, "args": list(args), "dependencies": needed}


@pytest.mark.usefixtures("worker")
def test_monitors_are_told_once_what_became_of_each(client: Client) -> None:
    wobbly, bad, stopped = step("own.third_time"), step("own.fail", "x"), step("own.pause", 60)
    skipped = step("own.echo", 1, needs=(bad,))

    def told(events: list[dict[str, Any]], task: dict[str, Any]) -> list[str]:
        kinds = [event["type"] for event in list(events) if event.get("uuid") == task["id"]]
        return [
            kind for kind in kinds if kind not in {"task-sent", "task-received", "task-started"}
        ]

    with heard() as events:
        wait_until(lambda: any(event["type"] == "worker-heartbeat" for event in events), 20)
        client.submit_graph([wobbly, bad, skipped])
        leaving = client.submit_graph([stopped])
        wait_until(lambda: leaving.tree()["tasks"][0]["state"] == "running", 30)
        leaving.cancel()
        expected = {
            "wobbly": ["task-retried", "task-retried", "task-succeeded"],
            "bad": ["task-failed"],
            "skipped": ["task-revoked"],
            "stopped": ["task-revoked"],
        }
        named = {"wobbly": wobbly, "bad": bad, "skipped": skipped, "stopped": stopped}

        def all_told() -> dict[str, list[str]]:
            return {name: sorted(told(events, task)) for name, task in named.items()}

        wait_until(lambda: all_told() == expected, 30, f"{all_told()}")
    [last] = [event for event in events if event.get("uuid") == skipped["id"]]
    assert (last["name"], last["args"]) == ("own.echo", "(general)")


@pytest.mark.usefixtures("worker")
def test_events_of_many_short_tasks_are_told_together(client: Client) -> None:
    from celery_app.celery import app

    tasks = [step("own.echo", number) for number in range(60)]
    ids = {task["id"] for task in tasks}
    with (
        heard() as events,
        app.connection_for_read() as connection,
        connection.default_channel.client.pubsub() as messages,
    ):
        messages.psubscribe("*celeryev*task*")
        wait_until(lambda: any(event["type"] == "worker-heartbeat" for event in events), 20)
        client.submit_graph(tasks).result(timeout=60)

        def told(kind: str) -> set[str]:
            return {event["uuid"] for event in list(events) if event["type"] == kind}

        wait_until(lambda: ids <= told("task-started") & told("task-succeeded"), 30)
        sent = 0
        while (message := messages.get_message(timeout=0.2)) is not None:
            sent += message["type"] == "pmessage"
    assert 0 < sent < len(tasks)


@pytest.mark.timeout(180)
def test_one_whose_workers_all_vanished_is_told_as_failed(client: Client) -> None:
    poison = step("own.kill", "x")
    with heard() as events:
        handle = client.submit_graph([poison])

        def told() -> bool:
            failed = [poison["id"], "task-failed"]
            return failed in [[event.get("uuid"), event["type"]] for event in list(events)]

        while not told():
            with WorkerProcess() as doomed:
                wait_until(lambda one=doomed: one.process.poll() is not None or told(), 60)  # type: ignore[misc]
        assert handle.state == "failed"
