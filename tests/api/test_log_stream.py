"""The log as it is said, over HTTP: what was said before, what is said now, and nothing twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from celery_app import celery
from celery_app.api import streams
from celery_app.celery import access, database, logs
from celery_app.client import Client
from celery_app.observe.log_manager import LogManager
from celery_app.records import LogContext, LogEvent
from celery_app.security.policy import Policy
from tests.api.serving import Served

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def task(client: Client) -> str:
    return str(uuid4())


def say(task: str, *messages: str, level: str = "WARNING", agent: str = "writer") -> None:
    """Say something within a task, and see that it is written."""
    for message in messages:
        event = LogEvent(message=message, level=level, logger="shop")
        LogManager().log(event, LogContext(task_id=task, agent_id=agent))
    assert logs.flush()


def told(lines: Iterator[str], number: int) -> list[tuple[str, str]]:
    """Return the next events of a stream: id and message."""
    found: list[tuple[str, str]] = []
    identity = ""
    while len(found) < number:
        name, _, value = next(lines).partition(": ")
        if name == "id":
            identity = value
        elif name == "data":
            found.append((identity, json.loads(value)["message"]))
    return found


def messages(lines: Iterator[str], number: int) -> list[str]:
    return [message for _, message in told(lines, number)]


def test_what_was_said_and_what_is_being_said(asking: httpx.Client, task: str) -> None:
    say(task, "0", "1", "2", "3")
    wanted: dict[str, str | int] = {"task": task, "limit": 3, "level": "warning", "agent": "writer"}
    with asking.stream("GET", "/logs", params=wanted, headers=STREAM) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert messages(lines, 3) == ["1", "2", "3"]
        say(task, "too quiet", level="INFO")
        say(task, "not of this agent", agent="planner")
        say(str(uuid4()), "not of this task")
        before = time.monotonic()
        say(task, "4", "5")
        assert messages(lines, 2) == ["4", "5"]
        # Pushed, and not found by the look that is made every five seconds.
        assert time.monotonic() < before + 3
    listed = asking.get("/logs", params={**wanted, "limit": 10}).json()["items"]
    assert [each["message"] for each in listed] == ["5", "4", "3", "2", "1", "0"]


def test_it_goes_on_where_it_broke_off(asking: httpx.Client, task: str) -> None:
    say(task, *map(str, range(20)))
    heard: list[tuple[str, str]] = []
    for until in (7, 13, 20):
        headers = STREAM | ({"Last-Event-ID": heard[-1][0]} if heard else {})
        with asking.stream("GET", f"/logs?task={task}", headers=headers) as response:
            heard += told(response.iter_lines(), until - len(heard))
    headers = {**STREAM, "Last-Event-ID": heard[-1][0]}
    with asking.stream("GET", f"/logs?task={task}", headers=headers) as response:
        lines = response.iter_lines()
        assert next(lines) == ": following"
        say(task, "20")
        heard += told(lines, 1)
    assert [message for _, message in heard] == [str(number) for number in range(21)]


def test_an_id_that_is_none_is_refused(asking: httpx.Client) -> None:
    for wrong in ("x", "-1", "1-2", "9" * 30):
        response = asking.get("/logs", headers={**STREAM, "Last-Event-ID": wrong})
        assert (response.status_code, response.json()["kind"]) == (422, "InvalidRequest")


def test_nobody_hears_who_may_not_read(
    asking: httpx.Client, stranger: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {**STREAM, "Authorization": f"Bearer {stranger}"}
    assert asking.get("/logs", headers=headers).status_code == 403
    monkeypatch.setattr(streams, "_SIGN", 0.3)
    monkeypatch.setattr(celery, "policy", lambda: Policy.of_owner("token:*"))
    name = f"ear-{uuid4().hex[:6]}"
    _, text = access.create(name)
    headers = {**STREAM, "Authorization": f"Bearer {text}"}
    with asking.stream("GET", f"/logs?task={task}", headers=headers) as response:
        lines = response.iter_lines()
        assert next(lines) == ": following"
        access.revoke(name)
        ended = list(lines)
    assert "event: problem" in ended
    assert any("TokenRefused" in line for line in ended)
    database.rows("DELETE FROM token WHERE name = :name RETURNING 1", name=name)


def test_followers_of_the_log_count_as_streams_and_end_with_the_api(client: Client) -> None:
    with Served(streams=1) as served:
        url = f"{served.url}/logs"
        with httpx.stream("GET", url, headers=STREAM, trust_env=False, timeout=20) as response:
            lines = response.iter_lines()
            assert next(lines) == ": following"
            second = httpx.get(url, headers=STREAM, trust_env=False, timeout=20)
            assert (second.status_code, second.json()["kind"]) == (503, "TooManyStreams")
            assert httpx.get(url, trust_env=False, timeout=20).status_code == 200
            served.app.state.hub.logs.close()
            assert not [line for line in lines if line.startswith("event: problem")]
