"""`Hub`: one listening connection for all who follow something in this process.

Invariants
  * The feed is read once for everybody, and given out in memory; a stream costs a queue, and no thread,
    connection or query of its own while it waits.
  * A push says *look now*; without any the feed is looked at all the same, as long as somebody follows.
  * Whoever does not take what is theirs is cut off (see `Hearing`), and may come back where they stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from kombu.utils.json import loads
from starlette.concurrency import run_in_threadpool

from celery_app.api.hearing import Hearing
from celery_app.api.log_hub import LogHub
from celery_app.api.problems import Refusal
from celery_app.errors import AgentSystemError
from celery_app.postgres.connection import Database
from celery_app.postgres.notify import Listener
from celery_app.store.event_feed import Cursor, EventFeed
from celery_app.store.logs import CHANNEL, LogStore
from celery_app.worker.leases import FOLLOW

__all__ = ["Ear", "Hub"]

logger = logging.getLogger(__name__)

#: Seconds between two looks that nobody asked for, and after one that found what was not settled yet.
_LOOK = 0.5
_LOOK_AGAIN = 0.03
#: Seconds between two signs that models are listened to; a worker believes in ten.
_SIGN = 2.0

Events = list[dict[str, Any]]


class Ear(Hearing[dict[str, Any]]):
    """One who follows: a run, or all runs.

    Attributes:
        root_id: The run; None: all of them.
        since: The place in the feed from which on the ear hears.
    """

    def __init__(self, root_id: str | None, text: bool, since: Cursor) -> None:
        super().__init__()
        self.root_id = root_id
        self.text = text
        self.since = since


class Hub:
    """Gives out what happens.

    Args:
        database: Where it happens.
        most: Ears at once.
        log: What is said.

    Attributes:
        logs: Gives out what is said.
    """

    def __init__(self, database: Database, most: int, log: LogStore) -> None:
        self._feed = EventFeed(database)
        self.logs = LogHub(log)
        self._database = database
        self._most = most
        self._ears: dict[str | None, set[Ear]] = defaultdict(set)
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._place: Cursor | None = None
        self._news = asyncio.Event()
        self._looked = asyncio.Condition()
        self._horizon = 0
        self._opening = asyncio.Lock()
        self._closed = False

    async def start(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()

        def on_payloads(payloads: list[str]) -> None:
            loop.call_soon_threadsafe(self._on_payloads, payloads)

        self._listener = Listener(self._database, on_payloads, lambda: _soon(loop, self._on_resync))
        self._listener.listen([CHANNEL, *(f"result_{number}" for number in range(64))])
        work = (self._look(), self._sign(), self.logs.run())
        self._tasks = [asyncio.create_task(each) for each in work]

    def close(self) -> None:
        """End all hearing; streams end with it."""
        self._closed = True
        self.logs.close()
        for ear in self._all():
            ear.hear(None)
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def stop(self) -> None:
        """Stop listening."""
        self.close()
        for task in self._tasks:
            task.cancel()
        await run_in_threadpool(self._listener.close)

    @property
    def closed(self) -> bool:
        """Whether the process is about to end."""
        return self._closed

    def require_room(self) -> None:
        """Make sure that one more may hear. Raises `Refusal` (503)."""
        if self._closed or len(self._all()) + len(self.logs) >= self._most:
            words = f"{self._most} streams are open, which is the most: ask again later"
            raise Refusal(503, "TooManyStreams", words, {"Retry-After": "5"})

    @asynccontextmanager
    async def ear(self, root_id: str | None, *, text: bool = False) -> AsyncIterator[Ear]:
        """Hear a run, or all of them, for the length of the block; see `require_room`."""
        self.require_room()
        ear = Ear(root_id, text, await self._opened())
        self._ears[root_id].add(ear)
        if text:
            self._listener.listen([f"said_{root_id}"])
            await self._tell([root_id])
        try:
            yield ear
        finally:
            self._ears[root_id].discard(ear)
            if text and not any(each.text for each in self._ears[root_id]):
                self._listener.forget([f"said_{root_id}"])
            if not self._ears[root_id]:
                del self._ears[root_id]

    @asynccontextmanager
    async def end_of(self, task_id: str) -> AsyncIterator[asyncio.Event]:
        """Give what is set when a task may have ended; it is for the caller to look."""
        event = asyncio.Event()
        self._waiting[task_id].add(event)
        try:
            yield event
        finally:
            self._waiting[task_id].discard(event)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    async def passed(self, xact: int) -> None:
        """Wait until everything before a transaction has been given out."""
        while self._horizon < xact and not self._closed:
            self._news.set()
            async with self._looked:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._looked.wait(), _LOOK)

    async def _opened(self) -> Cursor:
        """Return the place from which on is heard; nothing was read as long as nobody heard."""
        async with self._opening:
            if self._place is None:
                look = await run_in_threadpool(self._feed.look, None)
                self._place, self._horizon = look.cursor, look.horizon
                self._news.set()
            return self._place

    def _all(self) -> list[Ear]:
        return [ear for ears in self._ears.values() for ear in ears]

    def _on_payloads(self, payloads: list[str]) -> None:
        for payload in payloads:
            if not payload:
                # What is told of the log says nothing but that.
                self.logs.tell()
            elif payload.startswith("{"):
                self._on_said(loads(payload))
            else:
                for event in self._waiting.get(payload, ()):
                    event.set()
        self._news.set()

    def _on_resync(self) -> None:
        self.logs.tell()
        for events in self._waiting.values():
            for event in events:
                event.set()
        self._news.set()

    def _on_said(self, said: dict[str, Any]) -> None:
        event = {"kind": "text", "at": datetime.now(UTC).isoformat(), **said}
        for ear in self._ears.get(said.get("root_id"), ()):
            if ear.text:
                ear.hear([event])

    async def _look(self) -> None:
        pause: float | None = None
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)
            self._news.clear()
            if self._place is None or not self._ears:
                self._place, pause = None, None
                continue
            try:
                pause = _LOOK_AGAIN if await self._give_out(self._place) else _LOOK
            except AgentSystemError as away:
                logger.warning("events cannot be read: %s", away)
                pause = _LOOK

    async def _give_out(self, place: Cursor) -> bool:
        """Read on and give it out; say whether there is more to be read soon."""
        look = await run_in_threadpool(self._feed.look, place)
        self._place = look.cursor
        by_root: dict[str | None, Events] = defaultdict(list)
        for event in look.events:
            by_root[event["root_id"]].append(event)
        if look.events:
            by_root[None] = look.events
        for root_id, events in by_root.items():
            for ear in self._ears.get(root_id, ()):
                ear.hear(events)
        if look.cursor == (look.horizon, 0):
            self._horizon = look.horizon
        async with self._looked:
            self._looked.notify_all()
        return look.unsettled or look.cursor != (look.horizon, 0)

    async def _sign(self) -> None:
        """Tell workers again and again whose models are listened to."""
        while True:
            await asyncio.sleep(_SIGN)
            runs = {ear.root_id for ear in self._all() if ear.text}
            with suppress(AgentSystemError):
                await self._tell(runs)

    async def _tell(self, runs: Iterable[str | None]) -> None:
        signs = [f"{FOLLOW}{run}" for run in runs]
        if signs:
            await run_in_threadpool(
                self._database.rows,
                "SELECT pg_notify('task_followed', run) FROM unnest(CAST(:runs AS text[])) AS run",
                runs=signs,
            )


def _soon(loop: asyncio.AbstractEventLoop, call: Any) -> None:
    # The listener's thread may outlive the loop by a moment.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
