"""Server-sent events: what happens, as it happens, and what models say meanwhile.

Invariants
  * The id of an event stands for all before it: with `Last-Event-ID` nothing is missed or told twice.
  * A stream of a run ends with the event `end`; asked for again after that, there is no content, at which
    browsers stop asking.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from celery_app.api.hub import Ear, Hub
from celery_app.api.log_hub import LogHub
from celery_app.api.problems import Refusal
from celery_app.desk import Kind
from celery_app.errors import AgentSystemError
from celery_app.local_desk import LocalDesk
from celery_app.observe.log_reader import LogReader
from celery_app.redaction import redacted
from celery_app.store.event_feed import Cursor, EventFeed, cursor_of
from celery_app.store.logs import LogFilter, StoredEvent

__all__ = ["MEDIA", "all_events", "log_events", "run_events"]

MEDIA = "text/event-stream"
#: Seconds of silence after which a sign of life is sent, and the permission is asked for again; each time a
#: little less, so that streams that were opened at once do not ask at once for ever.
_SIGN = 15.0
#: Events of the log that are read at once.
_PAST = 500
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def run_events(
    request: Request, desk: LocalDesk, kind: Kind, task_id: UUID, after: int, text: bool
) -> Response:
    """Return the stream of a run, from behind what the caller has on."""
    hub: Hub = request.app.state.hub
    hub.require_room()
    feed = EventFeed(desk.manager.store.database)
    root_id = await run_in_threadpool(_root_of, desk, kind, task_id)
    place = _last_seen(request)
    if place is None:
        place = await run_in_threadpool(feed.place_of, root_id, after)
    elif await run_in_threadpool(feed.nothing_left, root_id, place):
        return Response(status_code=204)

    stream = _Stream(hub, feed, lambda: desk.require_read(kind, task_id))
    return _streamed(stream.of_run(root_id, place, text))


async def all_events(request: Request, desk: LocalDesk) -> Response:
    """Return the stream of all runs that the caller may see, from now or from what they have on."""
    hub: Hub = request.app.state.hub
    hub.require_room()
    feed = EventFeed(desk.manager.store.database)
    levels = await run_in_threadpool(desk.manager.levels)

    stream = _Stream(hub, feed, desk.manager.levels)
    seen = _last_seen(request)
    return _streamed(stream.of_all(set(levels), seen))


async def log_events(request: Request, desk: LocalDesk, wanted: LogFilter, limit: int) -> Response:
    """Return the stream of what is said and wanted: from behind what the caller has on, or the newest first.

    Args:
        request: What asks for it.
        desk: Of whoever asks.
        wanted: Which events.
        limit: The most of those that were written before.
    """
    hub: Hub = request.app.state.hub
    hub.require_room()
    reader = LogReader(desk.permissions)
    await run_in_threadpool(reader.require)
    stream = _LogStream(hub.logs, reader, wanted)
    return _streamed(stream.following(_last_line(request), limit))


def _streamed(pieces: AsyncIterator[str]) -> Response:
    return StreamingResponse(_in_words(pieces), 200, _HEADERS, MEDIA)


async def _in_words(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """Tell an error that comes in the middle as the last event: the status has been sent long ago."""
    try:
        async for piece in pieces:
            yield piece
    except (AgentSystemError, Refusal) as error:
        told = {"kind": type(error).__name__, "detail": redacted(str(error))}
        yield f"event: problem\ndata: {json.dumps(told)}\n\n"


class _Stream:
    """One stream, as pieces of text.

    Args:
        hub: Tells what happens.
        feed: Has what happened.
        still_may: Raises once the caller may not see it any more.
    """

    def __init__(self, hub: Hub, feed: EventFeed, still_may: Callable[[], object]) -> None:
        self._hub, self._feed, self._still_may = hub, feed, still_may

    async def of_run(self, root_id: str, place: Cursor, text: bool) -> AsyncIterator[str]:
        """Yield the events of a run until it is over."""
        async with self._hub.ear(root_id, text=text) as ear:
            yield ": following\n\n"
            async for events in self._past(place, ear):
                yield _told(events)
            state, xmax = await run_in_threadpool(self._feed.ending, root_id)
            while state is None:
                heard = await ear.next(_sign())
                if heard is None:
                    return
                yield _told(heard) or ": still here\n\n"
                if not heard:
                    state, xmax = await run_in_threadpool(self._silence, root_id)
                elif any(_may_end(event, root_id) for event in heard):
                    state, xmax = await run_in_threadpool(self._feed.ending, root_id)
            await self._hub.passed(xmax)
            yield _told(ear.rest())
            yield f"event: end\ndata: {json.dumps({'state': state})}\n\n"

    async def of_all(self, levels: set[Any], place: Cursor | None) -> AsyncIterator[str]:
        """Yield the events of all runs of some levels, for ever."""
        async with self._hub.ear(None) as ear:
            yield ": following\n\n"
            if place is not None:
                async for events in self._past(place, ear):
                    yield _told(events, levels)
            while (heard := await ear.next(_sign())) is not None:
                yield _told(heard, levels) or ": still here\n\n"
                if not heard:
                    await run_in_threadpool(self._still_may)

    def _silence(self, root_id: str) -> tuple[str | None, int]:
        """Look whether the caller still may, and whether the end was missed."""
        self._still_may()
        return self._feed.ending(root_id)

    async def _past(self, place: Cursor, ear: Ear) -> AsyncIterator[list[dict[str, Any]]]:
        while place < ear.since:
            events = await run_in_threadpool(self._feed.between, place, ear.since, ear.root_id)
            if not events:
                return
            yield events
            place = cursor_of(events[-1])


class _LogStream:
    """A stream of the log, as pieces of text.

    Args:
        hub: Tells what is said.
        reader: Has what was said, and knows whether the caller may see it.
        wanted: Which events.
    """

    def __init__(self, hub: LogHub, reader: LogReader, wanted: LogFilter) -> None:
        self._hub, self._reader, self._wanted = hub, reader, wanted

    async def following(self, last: int | None, limit: int) -> AsyncIterator[str]:
        """Yield what was said after an event, or the newest before now, and then what is said, for ever."""
        async with self._hub.ear() as ear:
            yield ": following\n\n"
            async for events in self._past(last, ear.since, limit):
                yield self._lines(events)
            signed = time.monotonic()
            while (heard := await ear.next(_sign())) is not None:
                if told := self._lines(heard):
                    yield told
                # Others may say much meanwhile that is not wanted here.
                if not heard or time.monotonic() >= signed + _SIGN:
                    signed = time.monotonic()
                    yield ": still here\n\n"
                    await run_in_threadpool(self._reader.require)

    async def _past(
        self, last: int | None, until: int, limit: int
    ) -> AsyncIterator[list[StoredEvent]]:
        find = self._reader.find
        if last is None:
            if limit:
                yield await run_in_threadpool(find, self._wanted, limit, until + 1)
            return
        while found := await run_in_threadpool(find, self._wanted, _PAST, until + 1, after=last):
            yield found
            last = found[-1].id

    def _lines(self, events: list[StoredEvent]) -> str:
        return "".join(
            f"id: {event.id}\ndata: {json.dumps(event.as_json())}\n\n"
            for event in events
            if self._wanted.fits(event)
        )


def _sign() -> float:
    return random.uniform(0.7, 1.0) * _SIGN  # noqa: S311 - it hides nothing


def _told(events: list[dict[str, Any]], levels: set[Any] | None = None) -> str:
    return "".join(
        _frame(event) for event in events if levels is None or event.get("level") in levels
    )


def _frame(event: dict[str, Any]) -> str:
    shown = {key: value for key, value in event.items() if key != "level"}
    identity = f"id: {cursor_of(event)}\n" if "id" in event else ""
    return f"{identity}data: {json.dumps(shown)}\n\n"


def _may_end(event: dict[str, Any], root_id: str) -> bool:
    return event["task_id"] == root_id and event["kind"] in (
        "succeeded", "failed", "cancelled", "skipped",
    )  # fmt: skip


def _last_seen(request: Request) -> Cursor | None:
    text = request.headers.get("last-event-id")
    if text is None:
        return None
    if (place := Cursor.read(text)) is None:
        raise Refusal(422, "InvalidRequest", "Last-Event-ID: it is none of this system's ids")
    return place


def _last_line(request: Request) -> int | None:
    text = request.headers.get("last-event-id")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise Refusal(422, "InvalidRequest", "Last-Event-ID: it is none of the log's ids")
    return int(text)


def _root_of(desk: LocalDesk, kind: Kind, task_id: UUID) -> str:
    desk.require_read(kind, task_id)
    return desk.manager.store.root_of(str(task_id))
