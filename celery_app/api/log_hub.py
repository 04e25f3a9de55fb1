"""`LogHub`: the log for all who follow it in this process.

Invariants
  * The log is read once for everybody, and given out in memory.
  * What was written before an ear was opened is below its `since`, and what comes later it hears: nothing is
    in between, and nothing in both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.concurrency import run_in_threadpool

from celery_app.api.hearing import Hearing
from celery_app.errors import AgentSystemError
from celery_app.store.logs import LogStore, StoredEvent

__all__ = ["LogEar", "LogHub"]

logger = logging.getLogger(__name__)

#: Seconds between two looks that nobody asked for.
_LOOK = 5.0
_AT_ONCE = 500


class LogEar(Hearing[StoredEvent]):
    """One who follows the log: hears all that was written after the event `since`."""

    def __init__(self, since: int) -> None:
        super().__init__()
        self.since = since


class LogHub:
    """Gives out what is said.

    Args:
        store: The log.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store
        self._ears: set[LogEar] = set()
        self._last: int | None = None
        self._news = asyncio.Event()
        self._opening = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._ears)

    def tell(self) -> None:
        """Take note that something was written."""
        self._news.set()

    def close(self) -> None:
        """End all hearing."""
        for ear in self._ears:
            ear.hear(None)

    @asynccontextmanager
    async def ear(self) -> AsyncIterator[LogEar]:
        """Hear what is said, for the length of the block."""
        ear = LogEar(await self._opened())
        self._ears.add(ear)
        self._news.set()
        try:
            yield ear
        finally:
            self._ears.discard(ear)

    async def run(self) -> None:
        """Read on whenever something was written, for ever."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK if self._ears else None)
            self._news.clear()
            if not self._ears:
                self._last = None
                continue
            try:
                await self._give_out()
            except AgentSystemError as away:
                logger.warning("the log cannot be read: %s", away)

    async def _opened(self) -> int:
        """Return the event behind which is heard; nothing was read as long as nobody heard."""
        async with self._opening:
            if self._last is None:
                self._last = await run_in_threadpool(self._store.newest_id)
            return self._last

    async def _give_out(self) -> None:
        while found := await run_in_threadpool(self._read):
            self._last = found[-1].id
            for ear in self._ears:
                ear.hear(found)

    def _read(self) -> list[StoredEvent]:
        return self._store.find(limit=_AT_ONCE, after=self._last or 0)
