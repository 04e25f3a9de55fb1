"""`AsyncClient` and its handles: the verbs of `Client`, to be awaited.

Invariant: each verb is made of the one that it waits for, with its signature; nothing is done twice. A verb
runs in a thread of the client's own, so that whoever awaits much holds up nobody else.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from celery_app.client import Client
from celery_app.document_desk import Documents
from celery_app.handles import RunHandle, TaskHandle
from celery_app.project_handle import ProjectHandle
from workflows.document import Document, DocumentationType
from workflows.project import Project
from workflows.timeline import Timeline
from workflows.workflow import Workflow

__all__ = [
    "AsyncClient",
    "AsyncDocuments",
    "AsyncProjectHandle",
    "AsyncRunHandle",
    "AsyncTaskHandle",
]

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")

#: Verbs that are waited for at the same moment; further ones have their turn.
THREADS = 64


class _Threads:
    """What runs the verbs of a client and of its handles."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ai-agent")

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Face:
    """Something with awaited verbs in front of the one that has them."""

    def __init__(self, behind: Any, threads: _Threads) -> None:
        self._behind = behind
        self._threads = threads

    def __repr__(self) -> str:
        return f"Async{self._behind!r}"


def _same(result: T, _: _Threads) -> T:
    return result


def _awaited(
    verb: Callable[Concatenate[S, P], T], made: Callable[[T, _Threads], R]
) -> Callable[Concatenate[Any, P], Awaitable[R]]:
    """Return a verb to be awaited, whose result is `made` of the result of another."""

    @functools.wraps(verb)
    async def wait(self: _Face, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # By its name, since the one behind may have it in a way of its own.
        work = functools.partial(getattr(self._behind, verb.__name__), *args, **kwargs)
        return made(await self._threads.run(work), self._threads)

    return wait


def _plain(verb: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[Any, P], Awaitable[T]]:
    return _awaited(verb, _same)


class AsyncTaskHandle(_Face):
    """A task that was handed in; see `TaskHandle`."""

    @property
    def id(self) -> UUID:
        """Its id."""
        found: UUID = self._behind.id
        return found

    async def state(self) -> str:
        """Return the task's present state."""
        return await self._threads.run(lambda: self._behind.state)

    @overload
    def events(self, after: int = 0) -> Awaitable[list[dict[str, Any]]]: ...

    @overload
    def events(
        self, after: int = 0, *, follow: Literal[True], text: bool = False
    ) -> AsyncIterator[dict[str, Any]]: ...

    def events(
        self, after: int = 0, *, follow: bool = False, text: bool = False
    ) -> Awaitable[list[dict[str, Any]]] | AsyncIterator[dict[str, Any]]:
        """Return what happened, to be awaited; with `follow` what happens, for `async for`."""
        if follow:
            return self._followed(after, text)
        return self._threads.run(lambda: self._behind.events(after))

    async def _followed(self, after: int, text: bool) -> AsyncIterator[dict[str, Any]]:
        events: Iterator[dict[str, Any]] = await self._threads.run(
            lambda: self._behind.events(after, follow=True, text=text)
        )
        while (event := await self._threads.run(lambda: next(events, None))) is not None:
            yield event

    result = _plain(TaskHandle.result)
    give = _plain(TaskHandle.give)
    cancel = _plain(TaskHandle.cancel)
    retry = _plain(TaskHandle.retry)
    tree = _plain(TaskHandle.tree)


class AsyncRunHandle(AsyncTaskHandle):
    """A run of a workflow; see `RunHandle`."""

    async def workflow(self) -> Workflow:
        """Return the definition that it keeps."""
        return await self._threads.run(lambda: self._behind.workflow)

    tree = _plain(RunHandle.tree)
    approve = _plain(RunHandle.approve)
    reject = _plain(RunHandle.reject)
    resume = _plain(RunHandle.resume)
    # The class is not there yet when this is written.
    fork = _awaited(RunHandle.fork, lambda handle, threads: AsyncRunHandle(handle, threads))


class AsyncProjectHandle(_Face):
    """A project; see `ProjectHandle`."""

    async def timeline(self) -> Timeline:
        """Return its plan in time."""
        return await self._threads.run(lambda: self._behind.timeline)

    get = _plain(ProjectHandle.get)
    document = _plain(ProjectHandle.document)
    run = _awaited(ProjectHandle.run, AsyncTaskHandle)
    accept = _plain(ProjectHandle.accept)
    artifacts = _plain(ProjectHandle.artifacts)
    artifact = _plain(ProjectHandle.artifact)
    add_artifact = _plain(ProjectHandle.add_artifact)


class AsyncDocuments(_Face):
    """Documents; see `Documents`."""

    async def generate_documentation(
        self, project: Project, doc_type: DocumentationType
    ) -> Document:
        """Have a document written; see `Documents.generate`."""
        document: Document = await self._behind.generate_documentation(project, doc_type)
        return document

    generate = _plain(Documents.generate)
    start = _plain(Documents.start)
    listed = _plain(Documents.listed)
    get = _plain(Documents.get)
    versions = _plain(Documents.versions)
    restore = _plain(Documents.restore)
    check = _plain(Documents.check)


def _runs(handles: list[RunHandle], threads: _Threads) -> list[AsyncRunHandle]:
    return [AsyncRunHandle(handle, threads) for handle in handles]


class AsyncClient(_Face):
    """Hands in work; see `Client`, whose arguments it takes.

    It is made at once: with neither url nor running servers that may take a while, see `open`.
    """

    def __init__(self, token: str | None = None, *, url: str | None = None) -> None:
        super().__init__(Client(token, url=url), _Threads())

    @classmethod
    async def open(cls, token: str | None = None, *, url: str | None = None) -> Self:
        """Return a client, without holding up the loop while servers are started."""
        return await asyncio.to_thread(cls, token, url=url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.close()

    @property
    def documents(self) -> AsyncDocuments:
        """What writes documents and knows their versions."""
        return AsyncDocuments(self._behind.documents, self._threads)

    def run(self, run_id: UUID | str) -> AsyncRunHandle:
        """Return the handle of a run; see `Client.run`."""
        return AsyncRunHandle(self._behind.run(run_id), self._threads)

    def task(self, task_id: UUID | str) -> AsyncTaskHandle:
        """Return the handle of a task; see `Client.task`."""
        return AsyncTaskHandle(self._behind.task(task_id), self._threads)

    def project(self, name: str) -> AsyncProjectHandle:
        """Return the handle of a project; see `Client.project`."""
        return AsyncProjectHandle(self._behind.project(name), self._threads)

    submit = _awaited(Client.submit, AsyncTaskHandle)
    submit_graph = _awaited(Client.submit_graph, AsyncTaskHandle)
    run_workflow = _awaited(Client.run_workflow, AsyncRunHandle)
    start_workflow = _awaited(Client.start_workflow, AsyncRunHandle)
    emit = _awaited(Client.emit, _runs)
    plan = _plain(Client.plan)
    create_project = _awaited(Client.create_project, AsyncProjectHandle)
    change_project = _awaited(Client.change_project, AsyncProjectHandle)
    projects = _plain(Client.projects)
    set_project_budget = _plain(Client.set_project_budget)
    project_budget = _plain(Client.project_budget)
    check_models = _plain(Client.check_models)
    register_workflow = _plain(Client.register_workflow)
    runs = _plain(Client.runs)
    tasks = _plain(Client.tasks)
    workflows = _plain(Client.workflows)
    read_workflow = _plain(Client.read_workflow)
