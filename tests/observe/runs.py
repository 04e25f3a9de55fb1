"""Fifty runs of all kinds: chores, failures, retries, cancelled ones, plans, and agents with a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

from celery_app.client import Client
from celery_app.errors import AgentSystemError
from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until

NONSENSE = "I would rather not."
COLOUR = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
VALUE = '{"answer": {"colour": "green"}}'


def answer(words: str, _: int) -> str:
    """Say what the task's own words ask for."""
    if "PLAIN" in words:
        return VALUE
    if "AMONG WORDS" in words:
        return f"Here you are:\n```json\n{VALUE}\n```"
    if "AT LAST" in words:
        return VALUE if NONSENSE in words else NONSENSE
    if "NEVER" in words:
        return NONSENSE
    return "It is so."


def step(
    name: str, *args: Any, needs: tuple[dict[str, Any], ...] = (), **fields: Any
) -> dict[str, Any]:
    ids = [task["id"] for task in needs]
    return {"id": str(uuid4()), "task": name, "args": list(args), "dependencies": ids, **fields}


def chain_that_breaks() -> list[dict[str, Any]]:
    first = step("chore.echo", 1)
    second = step("chore.fail", "on purpose", needs=(first,))
    return [first, second, step("chore.echo", 3, needs=(second,))]


def mixed_runs(client: Client) -> list[TaskHandle]:
    """Hand in fifty runs and wait until every one has ended."""
    handles = list(_handed_in(client))
    assert len(handles) == 50
    for handle in handles:
        with suppress(AgentSystemError):
            handle.result(timeout=90)
    return handles


def _handed_in(client: Client) -> Iterator[TaskHandle]:
    for number in range(15):
        yield client.submit_graph([step("chore.echo", number)])
    yield client.submit_graph([step("chore.fail", "twice", retry={"max": 1, "seconds": 2})])
    for _ in range(4):
        yield client.submit_graph([step("chore.fail", "on purpose")])
        yield client.submit_graph(chain_that_breaks())
        yield client.submit_graph([step("own.third_time")])
    for _ in range(10):
        yield client.submit("Say whether it is so.", plan=False, agent="writer")
    for words in ("PLAIN", "PLAIN", "AMONG WORDS", "AT LAST", "AT LAST", "NEVER"):
        yield client.submit(f"Name a colour, {words}.", plan=False, agent="analyst", output=COLOUR)
    for _ in range(2):
        yield client.submit("long words " * 2000, plan=False, agent="writer")
        yield client.submit("Compare the two and say which is better.", plan=True)
    for _ in range(2):
        handle = client.submit_graph([step("chore.sleep", 60)])
        wait_until(lambda handle=handle: "running" in states(handle), 30, "it runs")  # type: ignore[misc]
        handle.cancel()
        yield handle


def states(handle: TaskHandle) -> list[str]:
    return [task["state"] for task in handle.tree()["tasks"]]
