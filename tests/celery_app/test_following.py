"""A run is followed live: its events, and what its models say while they say it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.handles import TaskHandle
from tests.faults.model_faults import FaultyModel
from tests.worker_process import WorkerProcess

WORDS = 30


@pytest.fixture(scope="module")
def model() -> Iterator[FaultyModel]:
    """It says a word every tenth of a second."""
    with FaultyModel(words=WORDS, pause=0.1) as server:
        yield server


@pytest.fixture(scope="module")
def worker(client: Client, model: FaultyModel) -> Iterator[WorkerProcess]:
    hosts = f"[{model.address}]"
    with WorkerProcess("-P", "threads", AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts) as process:
        yield process


def ask(client: Client) -> TaskHandle:
    return client.submit(f"Say whether {uuid4()} is so.", plan=False)


@pytest.mark.usefixtures("worker")
def test_what_a_model_says_is_heard_while_it_says_it(client: Client) -> None:
    handle = ask(client)
    events = handle.events(follow=True, text=True)
    heard = [(time.monotonic(), event) for event in events]
    ended = heard[-1][0]
    pieces = [(moment, event) for moment, event in heard if event["kind"] == "text"]
    said = "".join(event["text"] for _, event in pieces)
    result = handle.result(timeout=5)
    assert said.strip().endswith(result[-40:]), "it is heard to its end"
    assert ended - pieces[0][0] > 0.5, "it was heard while it was said"
    assert len(pieces) > 8
    assert {event["task_id"] for _, event in pieces} == {str(handle.id)}
    kinds = [event["kind"] for _, event in heard if event["kind"] != "text"]
    assert kinds == ["queued", "published", "started", "called", "succeeded"]


@pytest.mark.usefixtures("worker")
def test_nobody_is_told_what_nobody_wants_to_hear(client: Client) -> None:
    """A listener that gives no sign of interest hears nothing."""
    from celery_app.celery import database

    handle = ask(client)
    connection = database.listening_connection()
    with connection.cursor() as cursor:
        cursor.execute(f'LISTEN "said_{handle.id}"')
    handle.result(timeout=20)
    connection.poll()
    assert connection.notifies == []
    connection.close()


@pytest.mark.usefixtures("worker")
def test_two_may_follow_one_run(client: Client) -> None:
    handle = ask(client)
    texts: list[str] = []

    def listen() -> None:
        events = handle.events(follow=True, text=True)
        texts.append("".join(event["text"] for event in events if event["kind"] == "text"))

    threads = [threading.Thread(target=listen) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(texts) == 2
    assert all(text for text in texts)
