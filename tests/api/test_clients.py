"""The client, the client over HTTP and the awaited client: the same verbs, values and errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.errors import UnknownAgent
from celery_app.aio import AsyncClient, AsyncProjectHandle, AsyncRunHandle, AsyncTaskHandle
from celery_app.client import Client
from celery_app.desk import Desk
from celery_app.errors import (
    ConfigurationError,
    PermissionDenied,
    ServiceUnavailable,
    TaskCancelled,
    TaskFailed,
    UnknownTask,
    WaitTimeout,
)
from celery_app.handles import RunHandle, TaskHandle
from celery_app.local_desk import LocalDesk
from celery_app.project_handle import ProjectHandle
from celery_app.remote_desk import RemoteDesk
from tests.api.serving import Served
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import IllegalTransition, InvalidInputs, InvalidTask, InvalidWorkflow

GREET = (
    "name: greet\ninputs: {who: {type: string, default: you}}\nsteps:\n"
    "  - {id: ask, approval: {question: 'Greet?'}}\n"
    "  - {id: hello, task: chore.echo, args: ['hello {{ inputs.who }}']}\n"
    "outputs: {said: '{{ steps.hello.output }}'}\n"
)


@pytest.fixture(scope="module", autouse=True)
def working(client: Client) -> Iterator[WorkerProcess]:
    with WorkerProcess() as process:
        yield process


@pytest.fixture(params=["here", "over HTTP"])
def either(request: pytest.FixtureRequest, client: Client, remote: Client) -> Client:
    return client if request.param == "here" else remote


def verbs(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    }


def shape(verb: Any) -> list[tuple[str, Any, Any]]:
    verb = verb.fget if isinstance(verb, property) else verb
    parameters = list(inspect.signature(verb).parameters.values())[1:]
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.parametrize(
    ("one", "other", "besides"),
    [
        (Client, AsyncClient, {"permissions", "documents", "desk", "open"}),
        (TaskHandle, AsyncTaskHandle, {"id"}),
        (RunHandle, AsyncRunHandle, {"id"}),
        (ProjectHandle, AsyncProjectHandle, set()),
        (Desk, LocalDesk, {"require_read"}),
        (Desk, RemoteDesk, set()),
    ],
    ids=["client", "task", "run", "project", "desk here", "desk over HTTP"],
)
def test_they_are_in_step(one: type, other: type, besides: set[str]) -> None:
    first, second = verbs(one), verbs(other)
    assert first.keys() - besides == second.keys() - besides
    for name in first.keys() - besides:
        if one is Desk:
            named = [(n, k) for n, k, _ in shape(first[name])]
            assert named == [(n, k) for n, k, _ in shape(second[name])], name
        else:
            assert shape(first[name]) == shape(second[name]), name


def test_a_task_from_beginning_to_end(either: Client) -> None:
    handle = either.submit_graph([{"task": "chore.echo", "args": [{"a": [1, None, "ü"]}]}])
    [value] = handle.result(timeout=30).values()
    assert value == {"a": [1, None, "ü"]}
    assert handle.state == "succeeded"
    assert handle.tree()["tasks"][0]["state"] == "succeeded"
    followed = list(handle.events(follow=True))
    assert sorted(event["id"] for event in followed) == [each["id"] for each in handle.events()]
    assert handle.events(after=followed[-1]["id"]) == []
    listed = either.tasks(state="succeeded", limit=5)
    assert str(handle.id) in [each["id"] for each in listed]
    assert either.task(str(handle.id)).state == "succeeded"


def test_both_tell_the_same(client: Client, remote: Client) -> None:
    handle = client.submit_graph([{"task": "chore.echo", "args": [1]}])
    handle.result(timeout=30)
    there = remote.task(handle.id)
    assert there.tree() == handle.tree()
    assert there.events() == handle.events()
    assert (there.state, there.result()) == (handle.state, handle.result())
    assert remote.tasks(limit=30) == client.tasks(limit=30)
    assert remote.runs() == client.runs()
    assert remote.workflows() == client.workflows()
    client.set_project_budget("both", tokens=7)
    assert remote.project_budget("both") == client.project_budget("both")


def test_a_run_from_beginning_to_end(either: Client, tmp_path: Path) -> None:
    path = tmp_path / "greet.yaml"
    path.write_text(GREET)
    assert either.read_workflow(path) == load(GREET)
    for given in (path, load(GREET)):
        run = either.start_workflow(given, {"who": "Ann"}, priority="high")
        _until(lambda run=run: run.tree()["questions"])  # type: ignore[misc]
        with pytest.raises(IllegalTransition, match="waits for no answer"):
            run.approve("hello")
        run.approve("ask", by="bob")
        assert run.result(timeout=30) == {"said": "hello Ann"}
        assert run.workflow == load(GREET)
    forked = run.fork(inputs={"who": "Bo"})
    assert forked.result(timeout=30) == {"said": "hello Bo"}
    with pytest.raises(IllegalTransition):
        run.resume()
    assert str(forked.id) in [each["id"] for each in either.runs("greet")]


def _until(holds: Callable[[], Any]) -> None:
    from tests.engine.conftest import until

    until(holds)


def test_events_start_what_waits_for_them(either: Client) -> None:
    event = f"e-{uuid4().hex[:8]}"
    text = f"name: waits-{event}\ntriggers:\n  - event: {event}\nsteps:\n  - {{id: a, task: chore.echo}}\n"
    either.register_workflow(load(text))
    [run] = either.emit(event, {"n": 1}, key="k")
    assert [again.id for again in either.emit(event, {"n": 1}, key="k")] == [run.id]
    run.cancel()
    from celery_app.celery import triggers

    triggers.forget([f"waits-{event}"])


def errors(client: Client) -> dict[str, tuple[type[Exception], Callable[[], object]]]:
    failing = client.submit_graph([{"task": "chore.fail", "args": ["boo"]}])
    slow = client.submit_graph([{"task": "chore.sleep", "args": [60]}])
    gone = client.submit_graph([{"task": "chore.sleep", "args": [60]}])
    gone.cancel()
    return {
        "failed": (TaskFailed, lambda: failing.result(timeout=30)),
        "too slow": (WaitTimeout, lambda: slow.result(timeout=0.3)),
        "cancelled": (TaskCancelled, lambda: gone.result(timeout=30)),
        "no such task": (UnknownTask, lambda: client.task(uuid4()).tree()),
        "no such run": (UnknownTask, lambda: client.run(uuid4()).state),
        "no id": (UnknownTask, lambda: client.task("x")),
        "no such workflow": (InvalidWorkflow, lambda: client.run_workflow("nope")),
        "no such input": (InvalidInputs, lambda: client.run_workflow("triage", x=1)),
        "empty": (InvalidTask, lambda: client.submit("")),
        "unknown agent": (UnknownAgent, lambda: client.submit("a", plan=False, agent="nobody")),
        "unknown task": (InvalidTask, lambda: client.submit_graph([{"task": "no.such"}])),
        "not over": (IllegalTransition, lambda: client.start_workflow(load(GREET)).resume()),
        "no budget": (InvalidTask, lambda: slow.give(tokens=1)),
        "no project": (InvalidTask, lambda: client.project_budget(f"p-{uuid4()}")),
    }


def test_the_same_errors_are_raised(client: Client, remote: Client) -> None:
    here, there = errors(client), errors(remote)
    for name in here:
        told = []
        for kind, work in (here[name], there[name]):
            with pytest.raises(Exception, match=r".") as caught:
                work()
            assert isinstance(caught.value, kind), (name, caught.value)
            told.append(caught.value)
        assert type(told[0]) is type(told[1]), name
        assert _without_ids(str(told[0])) == _without_ids(str(told[1])), name
    for each in client.tasks(limit=6):
        client.task(each["id"]).cancel()


def _without_ids(text: str) -> str:
    import re

    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)


def test_a_bad_file_is_told_alike(client: Client, remote: Client, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nsteps:\n  - {id: a, task: no.such}\n  - {id: a, agnt: writer}\n")
    told = []
    for each in (client, remote):
        with pytest.raises(InvalidWorkflow) as caught:
            each.read_workflow(path)
        told.append(caught.value.problems)
    assert told[0] == told[1]
    assert len(told[0]) > 1


def test_who_may_not_is_told_so(served: Served, stranger: str) -> None:
    with pytest.raises(PermissionDenied, match=r"token:stranger-.* may not task.submit"):
        Client(stranger, url=served.url).submit("Write", plan=False)
    with pytest.raises(PermissionDenied, match="none of this system"):
        Client("aiat_0_0", url=served.url).tasks()


def test_where_nobody_answers() -> None:
    with pytest.raises(
        ServiceUnavailable, match=r"the API at http://127\.0\.0\.1:9 does not answer"
    ):
        Client(url="http://127.0.0.1:9").tasks()
    for wrong in ("ftp://x", "http://", "http://a:b@c"):
        with pytest.raises(ConfigurationError, match="write http://HOST:8000"):
            Client(url=wrong)


@pytest.mark.parametrize("over", ["here", "over HTTP"])
def test_the_same_is_awaited(served: Served, over: str) -> None:
    async def work() -> None:
        url = served.url if over == "over HTTP" else None
        async with await AsyncClient.open(url=url) as client:
            graphs = [client.submit_graph([{"task": "chore.echo", "args": [n]}]) for n in range(8)]
            handles = await asyncio.gather(*graphs)
            results = await asyncio.gather(*(handle.result(timeout=30) for handle in handles))
            assert [next(iter(result.values())) for result in results] == list(range(8))
            assert await handles[0].state() == "succeeded"
            events = [event async for event in handles[0].events(follow=True)]
            assert len(await handles[0].events()) == len(events)
            run = await client.start_workflow(load(GREET))
            assert (await run.workflow()).name == "greet"
            await run.cancel()
            assert (await client.task(handles[1].id).tree())["state"] == "succeeded"
            with pytest.raises(UnknownTask):
                await client.run(uuid4()).tree()

    asyncio.run(work())
