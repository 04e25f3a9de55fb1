"""Streams: as it happens, from where one stopped, to the end, for many, on one connection."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest

from celery_app.celery import access, database
from celery_app.client import Client
from celery_app.handles import TaskHandle
from tests.api.serving import Served
from tests.faults.model_faults import FaultyModel
from tests.worker_process import WorkerProcess

STREAM = {"Accept": "text/event-stream"}
MANY = 500


@pytest.fixture(scope="module")
def model() -> Iterator[FaultyModel]:
    """It says a word every tenth of a second."""
    with FaultyModel(words=20, pause=0.1) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def worker(client: Client, model: FaultyModel) -> Iterator[WorkerProcess]:
    with WorkerProcess(
        "-P", "threads", AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{model.address}]"
    ) as process:
        yield process


def steps(seconds: float, count: int) -> list[dict[str, Any]]:
    """Tasks in a row."""
    ids = [str(uuid4()) for _ in range(count)]
    return [
        {"id": each, "task": "chore.sleep", "args": [seconds], "dependencies": ids[:n][-1:]}
        for n, each in enumerate(ids)
    ]


def frames(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Yield the frames of a stream: id, event, data."""
    frame: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line and name:
            frame[name] = value
        elif not line and "data" in frame:
            yield frame
            frame = {}
        else:
            frame = {}


def heard(asking: httpx.Client, path: str, **headers: str) -> list[dict[str, str]]:
    with asking.stream("GET", path, headers={**STREAM, **headers}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(frames(response))


def numbers(told: list[dict[str, str]]) -> list[int]:
    return [json.loads(frame["data"])["id"] for frame in told if "id" in frame]


def test_a_stream_tells_what_the_list_tells_and_ends(asking: httpx.Client, client: Client) -> None:
    handle = client.submit_graph(steps(0.3, 3))
    told = heard(asking, f"/tasks/{handle.id}/events")
    assert json.loads(told[-1]["data"]) == {"state": "succeeded"}
    assert told[-1]["event"] == "end"
    listed = asking.get(f"/tasks/{handle.id}/events").json()
    assert sorted(numbers(told)) == [event["id"] for event in listed]
    assert len(set(numbers(told))) == len(numbers(told))
    # Of a run that is over the whole is told, and the end.
    assert heard(asking, f"/tasks/{handle.id}/events") == told


def test_it_goes_on_where_it_broke_off(asking: httpx.Client, client: Client) -> None:
    handle = client.submit_graph(steps(0.3, 4))
    path = f"/tasks/{handle.id}/events"
    told: list[dict[str, str]] = []
    while not told or told[-1].get("event") != "end":
        headers = {**STREAM} | ({"Last-Event-ID": told[-1]["id"]} if told else {})
        with asking.stream("GET", path, headers=headers) as response:
            for frame in frames(response):
                told.append(frame)
                if len(told) % 3 == 0:
                    # Hang up in the middle.
                    break
    whole = heard(asking, path)
    assert [frame["data"] for frame in told] == [frame["data"] for frame in whole]
    response = asking.get(path, headers={**STREAM, "Last-Event-ID": whole[-2]["id"]})
    assert response.status_code == 204
    after = numbers(whole)[2]
    assert numbers(heard(asking, f"{path}?after={after}")) == numbers(whole)[3:]


def test_what_models_say_is_in_it(asking: httpx.Client, client: Client) -> None:
    handle = client.submit(f"Say whether {uuid4()} is so.", plan=False)
    told = heard(asking, f"/tasks/{handle.id}/events?text=true")
    pieces = [json.loads(frame["data"]) for frame in told[:-1]]
    said = "".join(piece["text"] for piece in pieces if piece["kind"] == "text")
    assert said.strip().endswith(handle.result(timeout=10)[-30:])
    assert {piece["task_id"] for piece in pieces if piece["kind"] == "text"} == {str(handle.id)}
    # Nobody has asked for the words here.
    silent = heard(asking, f"/tasks/{handle.id}/events")
    assert "text" not in {json.loads(frame["data"])["kind"] for frame in silent[:-1]}


def test_all_runs_are_heard_at_once(asking: httpx.Client, client: Client) -> None:
    first = client.submit_graph(steps(0.05, 1))
    first.result(timeout=20)
    [*_, last] = heard(asking, f"/tasks/{first.id}/events")[:-1]
    roots: set[str] = set()
    second = client.submit_graph(steps(0.05, 2))
    headers = {**STREAM, "Last-Event-ID": last["id"]}
    with asking.stream("GET", "/events", headers=headers) as response:
        for frame in frames(response):
            event = json.loads(frame["data"])
            roots.add(event["root_id"])
            if event["task_id"] == str(second.id) and event["kind"] == "succeeded":
                break
    assert str(second.id) in roots
    assert str(first.id) not in roots


def test_an_id_that_is_none_is_refused(asking: httpx.Client, client: Client) -> None:
    handle = client.submit_graph(steps(0.05, 1))
    for wrong in ("x", "1", "1-", "-1", "1-x", "9" * 50 + "-1", f"{2**70}-1"):
        for path in ("/events", f"/tasks/{handle.id}/events"):
            response = asking.get(path, headers={**STREAM, "Last-Event-ID": wrong})
            assert response.status_code == 422, wrong
            assert "Last-Event-ID" in response.json()["detail"]


def test_a_revoked_token_hears_no_more(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery_app import celery
    from celery_app.api import streams
    from celery_app.security.policy import Policy

    monkeypatch.setattr(streams, "_SIGN", 0.3)
    monkeypatch.setattr(celery, "policy", lambda: Policy.of_owner("token:*"))
    name = f"ear-{uuid4().hex[:6]}"
    _, text = access.create(name)
    handle = client.submit_graph(steps(60, 1))
    headers = {**STREAM, "Authorization": f"Bearer {text}"}
    url = f"{served.url}/tasks/{handle.id}/events"
    with httpx.stream("GET", url, headers=headers, timeout=30, trust_env=False) as response:
        told = frames(response)
        next(told)
        access.revoke(name)
        last = list(told)[-1]
    assert last["event"] == "problem"
    assert json.loads(last["data"])["kind"] == "TokenRefused"
    handle.cancel()


def listening() -> int:
    row = database.row(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
    )
    return int(row.n)


async def open_many(url: str, handle: TaskHandle) -> list[list[str]]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, limits=limits, timeout=60, trust_env=False
    ) as asking:
        opened = asyncio.Semaphore(0)

        async def listen() -> list[str]:
            told: list[str] = []
            path = f"/tasks/{handle.id}/events"
            async with asking.stream("GET", path, headers=STREAM) as response:
                assert response.status_code == 200
                async for line in response.aiter_lines():
                    if line == ": following":
                        opened.release()
                    if line.startswith("data: "):
                        told.append(line)
            return told

        listeners = [asyncio.create_task(listen()) for _ in range(MANY)]
        for _ in range(MANY):
            await opened.acquire()
        threads, connections = threading.active_count(), await asyncio.to_thread(listening)
        # Those of the pool, and not one for each stream.
        assert threads < 120
        assert connections < 60
        await asyncio.to_thread(handle.cancel)
        return await asyncio.gather(*listeners)


def test_five_hundred_may_listen(served: Served, client: Client) -> None:
    handle = client.submit_graph(steps(120, 2))
    told = asyncio.run(open_many(served.url, handle))
    assert len(told) == MANY
    assert all(each == told[0] for each in told)
    assert json.loads(told[0][-1].removeprefix("data: ")) == {"state": "cancelled"}


def test_no_more_than_there_is_room_for(client: Client) -> None:
    with Served(streams=1) as served:
        handle = client.submit_graph(steps(60, 1))
        url = f"{served.url}/tasks/{handle.id}/events"
        with httpx.stream("GET", url, headers=STREAM, trust_env=False) as response:
            lines = response.iter_lines()
            assert next(lines) == ": following"
            second = httpx.get(url, headers=STREAM, trust_env=False, timeout=20)
            assert second.status_code == 503
            assert second.json()["kind"] == "TooManyStreams"
            assert second.headers["retry-after"] == "5"
        handle.cancel()


def test_streams_end_when_the_api_does(client: Client) -> None:
    handle = client.submit_graph(steps(60, 1))
    with Served() as served:
        url = f"{served.url}/tasks/{handle.id}/events"
        ended = threading.Event()

        def listen() -> None:
            with (
                suppress(httpx.HTTPError),
                httpx.stream("GET", url, headers=STREAM, timeout=60, trust_env=False) as response,
            ):
                for line in response.iter_lines():
                    if line == ": following":
                        begun.set()
            ended.set()

        begun = threading.Event()
        threading.Thread(target=listen, daemon=True).start()
        assert begun.wait(20)
    assert ended.wait(10)
    handle.cancel()
