"""A worker that stood still before it asks a model or calls a tool does neither."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from agents.errors import CallCancelled
from agents.model import ChatRequest, Message, ToolCall
from agents.ollama import OllamaModel
from agents.tool import Tool
from agents.toolbox import Toolbox
from celery_app.client import Client
from celery_app.errors import LeaseLost
from celery_app.store.journal import JournalStore
from celery_app.store.records import Claim
from celery_app.store.tool_calls import ToolCallStore
from celery_app.worker.journal import JournalledModel
from celery_app.worker.leases import Lease, LeaseKeeper
from celery_app.worker.tools import JournalledCalls
from tests.faults.model import AnsweringModel

QUESTION = ChatRequest("smollm2:135m", (Message("user", "Say whether it is so."),))
#: Shorter than any renewal, so that only the holder itself can notice.
SECONDS = 0.2


@pytest.fixture
def model() -> Iterator[AnsweringModel]:
    with AnsweringModel() as server:
        yield server


def claim(task_id: str, seconds: float) -> Claim:
    from celery_app.celery import executions

    found = executions.claim(task_id, "task.run", "a test", seconds)
    assert isinstance(found, Claim)
    return found


@pytest.fixture
def lost(client: Client) -> Iterator[Lease]:
    """The lease of a worker that stood still until another one had answered in its place."""
    from celery_app.celery import database, executions

    handle = client.submit_graph([{"id": str(uuid4()), "description": "Say whether it is so."}])
    (task,) = handle.tree()["tasks"]
    since = time.monotonic()
    keeper = LeaseKeeper(executions, SECONDS, renew_seconds=60)
    with keeper.hold(claim(task["id"], SECONDS), since) as lease:
        time.sleep(2 * SECONDS)
        executions.requeue_expired(limit=3)
        claim(task["id"], seconds=60)
        yield lease
    client.task(handle.id).cancel()
    database.dispose()


def ask(model: AnsweringModel, lease: Lease) -> None:
    from celery_app.celery import database

    careful = JournalledModel(OllamaModel([model.address]), JournalStore(database), lease)
    careful.chat(QUESTION, cancel=lease.ended)


def test_it_asks_nothing(lost: Lease, model: AnsweringModel) -> None:
    with pytest.raises(CallCancelled):
        ask(model, lost)
    assert lost.reason == "lost"
    assert model.asked == []


def test_without_the_look_at_its_lease_it_asks(lost: Lease, model: AnsweringModel) -> None:
    lost.sure_until = float("inf")
    ask(model, lost)
    assert len(model.asked) == 1


def use_a_tool(lease: Lease) -> list[str]:
    """Call a tool as a task does; return what the tool has heard."""
    from celery_app.celery import database

    heard: list[str] = []

    def note(text: str) -> None:
        """Note a text."""
        heard.append(text)

    calls = JournalledCalls(ToolCallStore(database), lease)
    box = Toolbox([Tool.of(note)], ledger=calls, cancel=lease.ended)
    try:
        box.call(ToolCall("note", '{"text": "a"}'))
    finally:
        assert len(ToolCallStore(database).calls(lease.claim.id)) == len(heard)
    return heard


def test_it_calls_no_tool(lost: Lease) -> None:
    with pytest.raises(LeaseLost, match="belongs to another worker: its tools are not called"):
        use_a_tool(lost)


def test_without_the_look_at_its_lease_it_calls_one(lost: Lease) -> None:
    lost.sure_until = float("inf")
    assert use_a_tool(lost) == ["a"]


def test_a_lease_that_nobody_took_is_simply_renewed(client: Client, model: AnsweringModel) -> None:
    from celery_app.celery import executions

    handle = client.submit_graph([{"id": str(uuid4()), "description": "Say whether it is so."}])
    (task,) = handle.tree()["tasks"]
    keeper = LeaseKeeper(executions, SECONDS, renew_seconds=60)
    with keeper.hold(claim(task["id"], SECONDS), time.monotonic()) as lease:
        time.sleep(2 * SECONDS)
        ask(model, lease)
        assert lease.sure_until > time.monotonic()
    assert len(model.asked) == 1
    handle.cancel()
