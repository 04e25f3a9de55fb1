"""What somebody else writes into the queues is set aside, and the queue moves on."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, lives, received
from tests.faults.conftest import VISIBILITY_TIMEOUT, Site

pytestmark = pytest.mark.chaos

LONG = VISIBILITY_TIMEOUT + 1.5


def a_message(**changes: Any) -> dict[str, Any]:
    """An ordinary message as kombu writes it, with changes to its headers."""
    task_id = str(uuid4())
    headers = {"lang": "py", "task": "chore.echo", "id": task_id, "root_id": task_id, **changes}
    info = {"exchange": "", "routing_key": "tasks"}
    return {
        "body": base64.b64encode(b'[["hello"], {}, {}]').decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": info,
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def without(message: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a message that lacks something."""
    place = message
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return message


def raw_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


NO_MESSAGE = "set aside what is no message"
NO_TASK = "set aside a message that is no task"
GARBAGE: dict[str, tuple[Any, str]] = {
    "bytes": (b"\xff\xfe\x00\x01", NO_MESSAGE),
    "no JSON": (b"{not json", NO_MESSAGE),
    "endless": (b"[" * 100_000, NO_MESSAGE),
    "a number": (5, NO_MESSAGE),
    "a list": ([1, 2, 3], NO_MESSAGE),
    "an empty object": ({}, NO_MESSAGE),
    "no properties": (without(a_message(), "properties"), NO_MESSAGE),
    "no tag": (without(a_message(), "properties", "delivery_tag"), NO_MESSAGE),
    "no address": (without(a_message(), "properties", "delivery_info"), NO_MESSAGE),
    "a body of another shape": ({**a_message(), "body": 7}, NO_MESSAGE),
    "a body that is no base64": ({**a_message(), "body": "a"}, NO_MESSAGE),
    "headers of another shape": ({**a_message(), "headers": "none"}, NO_MESSAGE),
    "a name of another shape": (a_message(task=["chore.echo"]), NO_TASK),
    "no id": (without(a_message(), "headers", "id"), NO_TASK),
    "a payload of another shape": (
        {**a_message(), "body": base64.b64encode(b"7").decode()},
        NO_TASK,
    ),
    "a payload that is no JSON": (
        {**a_message(), "body": base64.b64encode(b"{").decode()},
        "Can't decode message body",
    ),
    "a foreign type": (
        {**a_message(), "content-type": "application/x-python-serialize"},
        "Received invalid task message",
    ),
    "no headers": ({**a_message(), "headers": {}}, "Received and deleted unknown message"),
    "an unknown task": (a_message(task="nobody.knows.it"), "Received unregistered task"),
}


def test_garbage_is_set_aside(site: Site) -> None:
    before = chore("echo", "before")
    first = site.submit([before])
    ((_, old),) = site.queued()
    unknown = a_message(ai_agent=True)
    with site.worker(*TWO_SLOTS) as worker:
        site.assert_complete(first, [before])
        for content, _ in GARBAGE.values():
            site.put(raw_bytes(content))
        for raw in (old, old, raw_bytes(unknown)):
            site.put(raw)
        after = [chore("sleep", 0.1), chore("sleep", 0.1)]
        site.assert_complete(site.submit(after), after)
        wait_until(lambda: received(worker, unknown["headers"]["id"]) == 1)
        assert lives(worker)
        text = worker.text()
    expected = [said for _, said in GARBAGE.values()]
    assert Counter({said: text.count(said) for said in expected}) == Counter(expected)
    assert text.count(f"task {before['id']} has succeeded already") == 2
    assert len(site.kinds(first, "succeeded")) == 2
    assert "Connection to broker lost" not in text


@pytest.mark.faults_long
@pytest.mark.parametrize("kind", ["no JSON", "a list"])
def test_the_stock_consumer_ends_with_garbage(site: Site, kind: str) -> None:
    content, _ = GARBAGE[kind]
    with site.worker(*TWO_SLOTS, without="consumer") as worker:
        site.put(raw_bytes(content))
        assert worker.wait(timeout=15) == 1
