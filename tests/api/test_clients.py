"""The client, the client over HTTP and the awaited client: the same verbs, values and errors."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.errors import UnknownAgent
from celery_app.aio import (
    AsyncClient,
    AsyncDocuments,
    AsyncProjectHandle,
    AsyncRunHandle,
    AsyncTaskHandle,
)
from celery_app.client import Client
from celery_app.desk import Desk
from celery_app.document_desk import Documents, compared
from celery_app.errors import (
    ConfigurationError,
    PermissionDenied,
    ServiceUnavailable,
    TaskCancelled,
    TaskFailed,
    UnknownArtifact,
    UnknownDocument,
    UnknownProject,
    UnknownTask,
    WaitTimeout,
)
from celery_app.handles import RunHandle, TaskHandle
from celery_app.local_desk import LocalDesk
from celery_app.orchestrator.documentation_manager import DocumentationManager
from celery_app.project_handle import ProjectHandle
from celery_app.remote_desk import RemoteDesk
from celery_app.remote_documents import RemoteDocuments
from tests.api.conftest import project_wish
from tests.api.serving import Served
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import (
    IllegalTransition,
    InvalidDocument,
    InvalidInputs,
    InvalidProject,
    InvalidTask,
    InvalidWorkflow,
)
from workflows.project import ProjectSpec

LONG = "word " * 4000
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
        (Client, AsyncClient, {"permissions", "desk", "open"}),
        (TaskHandle, AsyncTaskHandle, {"id"}),
        (RunHandle, AsyncRunHandle, {"id"}),
        (ProjectHandle, AsyncProjectHandle, set()),
        (Desk, LocalDesk, {"require_read", "documents"}),
        (Desk, RemoteDesk, {"documents"}),
        (Documents, DocumentationManager, set()),
        (Documents, RemoteDocuments, set()),
        (Documents, AsyncDocuments, set()),
    ],
    ids=[
        "client",
        "task",
        "run",
        "project",
        "desk here",
        "desk over HTTP",
        "documents here",
        "documents over HTTP",
        "documents awaited",
    ],
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


def test_long_results_stand_in_no_list(either: Client) -> None:
    handle = either.submit_graph([{"task": "chore.echo", "args": [LONG]}])
    result = handle.result(timeout=30)
    assert list(result.values()) == [LONG]
    [listed] = [each for each in either.tasks(limit=50) if each["id"] == str(handle.id)]
    assert (listed["result"], listed["result_omitted"]) == (None, True)
    assert handle.tree()["result"] == result
    assert "result_omitted" not in handle.tree()


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


def test_a_project_is_the_same_here_and_there(
    client: Client, remote: Client, tmp_path: Path
) -> None:
    wish = project_wish(f"pets-{uuid4().hex[:8]}")
    spec = ProjectSpec.model_validate(wish["project"])
    told: list[str] = []
    there = remote.create_project(spec, wish["inputs"], lambda goal, _: told.append(goal))
    assert told == ["facts", "report"]
    here = client.project(there.name)
    assert _besides_time(there.document()) == _besides_time(here.document())
    assert _besides_time(there.get().as_json()) == _besides_time(here.get().as_json())
    assert there.get().spec == spec
    assert there.timeline.critical_path == here.timeline.critical_path
    assert remote.projects() == client.projects()
    later = spec.goals[1].model_copy(update={"description": "Write a letter about pets"})
    remote.change_project(
        spec.model_copy(update={"goals": [spec.goals[0], later]}), None, lambda g, _: told.append(g)
    )
    assert told == ["facts", "report", "report"]
    assert here.get().goals[1].description == later.description
    _artifacts_are_the_same(here, there, tmp_path)
    with pytest.raises(IllegalTransition, match="waits for nobody"):
        there.accept("facts")
    run = there.run(["facts"])
    with pytest.raises(IllegalTransition, match="is being worked on"):
        there.run(["facts"])
    run.cancel()


def _besides_time(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is another one at each look: the plan, as if it began now."""
    return {name: value for name, value in document.items() if name != "timeline"}


def _artifacts_are_the_same(here: ProjectHandle, there: ProjectHandle, folder: Path) -> None:
    path = folder / "a b.bin"
    path.write_bytes(b"\x00\xff")
    for name in ("plan/a b.bin", None):
        kept = there.add_artifact(path, name)
        assert (kept.name, str(kept.type)) == (name or "a b.bin", "file")
        assert there.artifact(kept.name) == here.artifact(kept.name) == path.read_bytes()
    path.write_bytes(b"")
    there.add_artifact(path)
    assert here.artifact(path.name) == there.artifact(path.name) == b""
    assert there.artifacts() == here.artifacts()


def test_documents_are_the_same_here_and_there(
    client: Client, remote: Client, written: str, tmp_path: Path
) -> None:
    here, there = client.documents, remote.documents
    assert there.versions(written) == here.versions(written)
    assert there.versions(written, "overview") == here.versions(written, "overview")
    assert there.get(written, "readme") == here.get(written, "readme")
    assert compared(there, written, "readme") == compared(here, written, "readme")
    assert there.check(written, "readme") == here.check(written, "readme")
    assert there.restore(written, "readme", 1).version == here.get(written, "readme").version == 1
    report = there.generate(written, "status_report", timeout=60)
    assert report == here.generate(client.project(written).get(), "status_report")
    assert report.version == 1
    with pytest.raises(InvalidDocument, match="over HTTP nobody says which folder"):
        there.start(written, "readme", tmp_path)


def errors(client: Client, project: str) -> dict[str, tuple[type[Exception], Callable[[], object]]]:
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
        "no such project": (UnknownProject, lambda: client.project("no-such").get()),
        "no such project to run": (UnknownProject, lambda: client.project("no-such").run()),
        "no such artifact": (UnknownArtifact, lambda: client.project(project).artifact("no/such")),
        "no such goal": (InvalidProject, lambda: client.project(project).accept("no-such")),
        "a name that is taken": (
            InvalidProject,
            lambda: client.create_project(
                ProjectSpec.model_validate(project_wish(project)["project"]),
                project_wish(project)["inputs"],
            ),
        ),
        "no such document": (UnknownDocument, lambda: client.documents.get(project, "changelog")),
        "no such version": (
            UnknownDocument,
            lambda: client.documents.restore(project, "changelog", 7),
        ),
        "no documents of its own": (InvalidDocument, lambda: client.documents.listed(project)),
        "a document of nothing": (
            InvalidDocument,
            lambda: client.documents.generate(project, "api_reference"),
        ),
        "no project": (InvalidTask, lambda: client.project_budget(f"p-{uuid4()}")),
    }


def test_the_same_errors_are_raised(client: Client, remote: Client, project: str) -> None:
    here, there = errors(client, project), errors(remote, project)
    for name in here:
        told = []
        for kind, work in (here[name], there[name]):
            with pytest.raises(Exception, match=r".") as caught:
                work()
                pytest.fail(f"{name}: nothing was raised")
            assert isinstance(caught.value, kind), (name, caught.value)
            told.append(caught.value)
        assert type(told[0]) is type(told[1]), name
        assert _without_ids(str(told[0])) == _without_ids(str(told[1])), name
    for each in client.tasks(limit=6):
        client.task(each["id"]).cancel()


def _without_ids(text: str) -> str:
    import re

    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)


def test_a_document_that_is_not_written_in_time(
    either: Client, project: str, working: WorkerProcess
) -> None:
    kind = "user_guide" if isinstance(either.desk, RemoteDesk) else "overview"
    # However quick the worker is, nobody writes now.
    working.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(WaitTimeout, match=r" of .* is not written after 0\.1 s; it goes on"):
            either.documents.generate(project, kind, timeout=0.1)
    finally:
        working.process.send_signal(signal.SIGCONT)
    assert either.documents.generate(project, kind, timeout=60).version == 1


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
def test_the_same_is_awaited(served: Served, written: str, over: str) -> None:
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
            readme = await client.documents.get(written, "readme")
            assert readme in [
                await client.documents.get(written, "readme", each.version)
                for each in await client.documents.versions(written, "readme")
            ]

    asyncio.run(work())
