"""A queue into which somebody writes whatever comes to mind: the worker goes on, and nothing stays."""

from __future__ import annotations

import base64
import json
import os
import random
from typing import Any

import psutil
import pytest

from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, lives
from tests.faults.conftest import Site
from tests.faults.test_garbage import a_message
from tests.fuzz.doors import nested

pytestmark = pytest.mark.timeout(180)

#: How many messages are thrown, and from which seed.
COUNT = 6 * int(os.environ.get("FUZZ_EXAMPLES", "40"))
SEED = int(os.environ.get("FUZZ_SEED", "7"))

ODD: list[Any] = [
    None, True, -1, 2**70, 0.5, "", "x", "\0", "\ud800", "x" * 100_000, [], {}, [[]], [None], {"a": 1},
    "2026-99-99", "0190c0de-0000-7000-8000-000000000001", nested(90), nested(150, "dict"),
    ["0190c0de-0000-7000-8000-000000000001"], "tasks", "agent.writer", "task.plan", "workflow.finish",
]  # fmt: skip

SIGNATURE: dict[str, Any] = {"task": "chore.echo", "args": ["x"], "kwargs": {}, "options": {}}

#: What Celery embeds in a body: what follows a task, and the chord that it is a part of.
EMBEDS: list[Any] = [
    {"chain": ODD_CHAIN, "chord": None, "callbacks": None, "errbacks": None}
    for ODD_CHAIN in (None, 5, [5], [SIGNATURE], [{"task": None}], [[SIGNATURE]], [None])
] + [
    {"chord": 5}, {"chord": SIGNATURE}, {"chord": {}}, {"callbacks": [7]}, {"errbacks": "x"},
    {"callbacks": [{"task": "nobody"}]}, {"chain": {"a": 1}}, 5, [], None,
]  # fmt: skip

HEADERS = (
    "task", "id", "root_id", "parent_id", "group", "group_index", "retries", "eta", "expires",
    "timelimit", "argsrepr", "kwargsrepr", "origin", "ignore_result", "ai_agent", "lang", "shadow",
    "replaced_task_nesting", "stamps", "stamped_headers", "compression", "\0",
)  # fmt: skip

PROPERTIES = ("delivery_tag", "reply_to", "priority", "correlation_id", "delivery_info",
              "body_encoding")  # fmt: skip

BODIES = [
    b"[[], {}, {}]",
    b"[" * 50_000,
    b"\xff",
    b"{}",
    b"null",
    b"[1, 2, 3]",
    b'[["x"], {}, {}]' * 3,
]


#: Met deep inside Celery, these ended the process, or kept a place of the worker for ever.
ENDED_WORKERS: list[dict[str, Any]] = [
    {"stamped_headers": 0.5}, {"stamps": "x"}, {"stamps": "x", "stamped_headers": ["a"]},
    {"id": "a\0b"}, {"group": ["x"]}, {"timelimit": [1]}, {"timelimit": "ab"}, {"retries": "x"},
]  # fmt: skip


def hurt(message: dict[str, Any], chance: random.Random) -> None:
    """Put one thing into a message that does not belong there."""
    match chance.choice(["header", "header", "embed", "args", "body", "property"]):
        case "header":
            message["headers"][chance.choice(HEADERS)] = chance.choice(ODD)
        case "embed":
            _embody(message, [["x"], {}, chance.choice(EMBEDS)])
        case "args":
            _embody(message, [chance.choice(ODD), chance.choice(ODD), {}])
        case "body":
            message["body"] = base64.b64encode(chance.choice(BODIES)).decode()
        case _:
            message["properties"][chance.choice(PROPERTIES)] = chance.choice(ODD)


def thrown(chance: random.Random) -> bytes:
    """Return a message with a few things wrong with it, or what is none at all."""
    message = a_message()
    for _ in range(chance.randint(1, 3)):
        hurt(message, chance)
    if chance.random() < 0.15:
        message[chance.choice(sorted(message))] = chance.choice(ODD)
    raw = json.dumps(message).encode()
    wound = chance.random()
    if wound < 0.1:
        return raw[: chance.randrange(len(raw))]
    return chance.randbytes(chance.randint(1, 200)) if wound < 0.2 else raw


def _embody(message: dict[str, Any], body: Any) -> None:
    message["body"] = base64.b64encode(json.dumps(body).encode()).decode()


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_outlives_whatever_is_thrown_at_it(site: Site, pool: str) -> None:
    chance = random.Random(SEED)
    with site.worker(*TWO_SLOTS, "-P", pool) as worker:
        for headers in ENDED_WORKERS:
            site.put(json.dumps(a_message(**headers)).encode())
        for _ in range(COUNT):
            site.put(thrown(chance))
        site.put(b"x" * 20_000_000)
        good = [chore("echo", "good") for _ in range(3)]
        site.assert_recorded(site.submit(good), good, 60)
        # Nothing comes back again and again: what is left waits for its time, which one may give it.
        wait_until(lambda: not site.left().keys() - {"unacked", "unacked_index"}, 30)
        assert lives(worker)
        assert psutil.Process(worker.process.pid).memory_info().rss < 700 * 2**20
        assert "Connection to broker lost" not in worker.text()
        assert worker.text().count("MainProcess] Unrecoverable error") == 0
