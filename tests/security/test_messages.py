"""Messages of tasks: sealed as one task's, or refused; and what Celery shows of them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Message
from kombu.exceptions import KombuError
from redis import Redis

from celery_app import codec
from celery_app.celery import app, settings, vault
from celery_app.client import Client
from celery_app.errors import Unsealed
from tests.worker_process import WorkerProcess

MARKER = "planted-7f3a"
Raw = dict[str, Any]


@pytest.fixture(scope="module")
def broker(client: Client) -> Iterator[Redis]:
    path = settings.components.message_bus.unix_socket
    with Redis(unix_socket_path=str(path)) as redis:
        yield redis


def key_of(queue: str) -> str:
    return f"{settings.system.name}:{queue}"


def sent(broker: Redis, name: str, *args: Any, **options: Any) -> Raw:
    """Send a task to a queue that nobody serves, and return what the broker got."""
    queue = f"nobody-{uuid4().hex[:8]}"
    app.send_task(name, args=args, queue=queue, **options)
    [raw] = broker.lrange(key_of(queue), 0, -1)
    broker.delete(key_of(queue))
    message: Raw = json.loads(raw)
    return message


def deliver(broker: Redis, raw: Raw) -> None:
    broker.lpush(key_of("tasks"), json.dumps(raw))


def as_message(raw: Raw) -> Message:
    return Message(
        body=base64.b64decode(raw["body"]),
        content_type=raw["content-type"],
        content_encoding=raw["content-encoding"],
        headers=raw["headers"],
        accept={"application/json", codec.SEALED},
    )


def with_body(raw: Raw, body: bytes) -> Raw:
    return {**raw, "body": base64.b64encode(body).decode()}


def refused(raw: Raw) -> bool:
    try:
        codec.check(as_message(raw), vault)
    except (Unsealed, KombuError):
        return True
    return False


def test_a_message_shows_ids_only(broker: Redis) -> None:
    raw = sent(broker, "chore.echo", MARKER, kwargs={"word": MARKER})
    assert raw["content-type"] == codec.SEALED
    assert raw["headers"]["argsrepr"] == "(1 sealed)"
    assert raw["headers"]["kwargsrepr"] == "{1 sealed}"
    assert MARKER not in json.dumps(raw)
    assert MARKER.encode() not in base64.b64decode(raw["body"])
    args, kwargs, _ = as_message(raw).decode()
    assert (args, kwargs) == ([MARKER], {"word": MARKER})
    assert not refused(raw)


def test_every_bit_flip_of_a_body_is_refused(broker: Redis) -> None:
    raw = sent(broker, "chore.echo", "x")
    body = base64.b64decode(raw["body"])
    for place in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[place // 8] ^= 1 << place % 8
        assert refused(with_body(raw, bytes(flipped))), place


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("id", "another"),
        ("task", "own.kill"),
        ("root_id", "another"),
        ("parent_id", "another"),
        ("group", "another"),
        ("group_index", 1),
        ("retries", 3),
        ("eta", "2099-01-01T00:00:00+00:00"),
        ("expires", "1999-01-01T00:00:00+00:00"),
        ("timelimit", [1, 1]),
        ("ignore_result", True),
        ("ai_agent", True),
    ],
)
def test_an_altered_header_is_refused(broker: Redis, header: str, value: Any) -> None:
    raw = sent(broker, "chore.echo", "x")
    assert not refused(raw)
    assert refused({**raw, "headers": {**raw["headers"], header: value}})


def test_a_body_of_another_message_is_refused(broker: Redis) -> None:
    one, other = sent(broker, "chore.echo", "one"), sent(broker, "chore.echo", "other")
    assert refused({**one, "body": other["body"]})


def test_headers_that_tracing_adds_do_no_harm(broker: Redis) -> None:
    raw = sent(broker, "chore.echo", "x")
    assert not refused({**raw, "headers": {**raw["headers"], "traceparent": "00-ab-cd-01"}})


def test_what_somebody_else_puts_into_a_queue_never_runs(
    broker: Redis, worker: WorkerProcess
) -> None:
    good = sent(broker, "chore.echo", "good")
    in_clear = sent(broker, "chore.echo", "clear")
    in_clear |= {"content-type": "application/json", "content-encoding": "utf-8"}
    in_clear = with_body(in_clear, json.dumps([["forged"], {}, {}]).encode())
    moved = sent(broker, "chore.echo", "moved")
    moved = {**moved, "body": good["body"]}
    renamed = sent(broker, "chore.echo", "renamed")
    renamed["headers"]["task"] = "chore.fail"
    cut = with_body(good, base64.b64decode(good["body"])[:20])
    for raw in (in_clear, moved, renamed, cut, good):
        deliver(broker, raw)
    assert app.AsyncResult(good["headers"]["id"]).get(timeout=20) == "good"
    for raw in (in_clear, moved, renamed):
        assert app.AsyncResult(raw["headers"]["id"]).state == "PENDING"
    assert worker.text().count("set aside") == 4
    assert broker.llen(key_of("tasks")) == 0


def test_events_and_inspectors_show_no_arguments_results_and_errors(
    client: Client, worker: WorkerProcess
) -> None:
    seen: list[dict[str, Any]] = []
    ready, done = threading.Event(), threading.Event()

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": seen.append})
            for _ in receiver.itercapture(limit=None, timeout=None, wakeup=False):
                ready.set()
                if done.is_set():
                    return

    threading.Thread(target=listen, daemon=True).start()
    assert ready.wait(20), "no heartbeat of the worker arrived"
    app.send_task("chore.echo", args=[MARKER]).get(timeout=20)
    failing = app.send_task("chore.fail", args=[MARKER])
    failing.get(timeout=20, propagate=False)
    pausing = app.send_task("own.pause", args=[3], kwargs={}, headers={})
    deadline = time.monotonic() + 10
    while not (shown := active_of(worker, pausing.id)) and time.monotonic() < deadline:
        time.sleep(0.1)
    pausing.get(timeout=20)
    deadline = time.monotonic() + 10
    while not any(
        event.get("uuid") == pausing.id and event["type"] == "task-succeeded" for event in seen
    ):
        assert time.monotonic() < deadline, "the task's event did not arrive"
        time.sleep(0.05)
    done.set()
    types = {event["type"] for event in seen}
    assert {"task-received", "task-succeeded", "task-failed"} <= types
    assert MARKER not in repr(seen)
    [failed] = [event for event in seen if event["type"] == "task-failed"]
    assert failed["uuid"] == failing.id
    assert failed["exception"] == "TaskFailed"
    assert "traceback" not in failed
    assert shown is not None
    assert shown["args"] == "(1 sealed)"
    # Whoever has the keys reads what went wrong.
    assert MARKER in str(failing.result)


def active_of(worker: WorkerProcess, task_id: str) -> dict[str, Any] | None:
    """Return what the worker tells of a task that it runs, or None while it does not."""
    found = app.control.inspect(timeout=0.5).active() or {}
    running = [task for name, tasks in found.items() if worker.name in name for task in tasks]
    return next((task for task in running if task["id"] == task_id), None)
