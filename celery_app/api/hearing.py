"""`Hearing`: what somebody who follows has not taken yet.

Invariant: whoever does not take what is theirs is cut off, and learns of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["Hearing"]

T = TypeVar("T")

_LONGEST_QUEUE = 2000


class Hearing(Generic[T]):
    """A queue of what was heard, in the pieces in which it came."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[list[T] | None] = asyncio.Queue(_LONGEST_QUEUE)

    def hear(self, news: list[T] | None) -> None:
        """Take in news; None is the end of all hearing."""
        try:
            self._heard.put_nowait(news)
        except asyncio.QueueFull:
            self._heard.get_nowait()
            self._heard.put_nowait(None)

    async def next(self, seconds: float) -> list[T] | None:
        """Return what was heard, nothing after so many seconds, or None when hearing has ended."""
        try:
            return await asyncio.wait_for(self._heard.get(), seconds)
        except TimeoutError:
            return []

    def rest(self) -> list[T]:
        """Return what was heard and not taken yet."""
        rest: list[T] = []
        with suppress(asyncio.QueueEmpty):
            while True:
                rest += self._heard.get_nowait() or []
        return rest
