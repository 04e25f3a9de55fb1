"""How often one subject may ask, counted over all processes of the API.

Invariants
  * A counter that cannot be reached stops nobody. Until it is back, each process counts for itself.
  * Requests are taken from the shared counter some at once, so that not each of them waits for it. What a
    process has taken and not used is lost, after so long that whoever asks less often than they may loses
    at most half of their share.
"""

from __future__ import annotations

import asyncio
import logging
import time
from urllib.parse import urlsplit

from kombu.utils.functional import LRUCache
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from celery_app.api.problems import Refusal

__all__ = ["Rates"]

logger = logging.getLogger(__name__)

_UNITS = {"s": "second", "m": "minute", "h": "hour"}
#: Seconds after which a counter that did not answer is tried again.
_PAUSE = 5.0
#: The most requests that are taken at once; the least seconds in which they may be used.
_HANDFUL = 10
_FRESH = 1.0


class Rates:
    """Counts requests.

    Args:
        rate: As in the settings: `300/s`.
        broker_url: The Redis that counts, as kombu has it.
        name: What its keys begin with.
    """

    def __init__(self, rate: str, broker_url: str, name: str) -> None:
        number, unit = rate.split("/")
        self._item: RateLimitItem = parse(f"{number}/{_UNITS[unit]}")
        self._said = rate
        self._name = name
        # Another client than kombu's, since that one has no asynchronous face.
        self._pool = ConnectionPool.from_url(
            _address(broker_url), socket_timeout=_PAUSE, socket_connect_timeout=_PAUSE
        )
        # One after the other: what one takes is enough for some.
        self._turn = asyncio.Lock()
        storage = RedisStorage(
            f"async+{broker_url}",
            connection_pool=self._pool,  # type: ignore[arg-type]
            implementation="redispy",
        )
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._handful = max(1, min(_HANDFUL, self._item.amount // 20))
        self._fresh = max(_FRESH, 2 * self._handful * self._item.get_expiry() / self._item.amount)
        self._taken: LRUCache = LRUCache(limit=1000)

    async def close(self) -> None:
        """Give the connections back."""
        await self._pool.disconnect()

    async def count(self, subject: str) -> None:
        """Count a request. Raises `Refusal` (429) with the seconds to wait if there were too many."""
        if self._use_one(subject):
            return
        async with self._turn:
            # Meanwhile another may have taken enough for both, or found that the shared counter is away.
            taken = self._use_one(subject) or await self._taken_somewhere(subject)
        if not taken:
            raise Refusal(
                429,
                "TooManyRequests",
                f"more than {self._said} were asked for: wait, then ask again",
                {"Retry-After": str(await self._seconds_left(subject))},
            )

    async def _seconds_left(self, subject: str) -> int:
        """Return the seconds after which it may ask again; of a counter that is away, the least."""
        try:
            stats = await self._counter.get_window_stats(self._item, self._name, subject)
        except (RedisError, OSError):
            return 1
        return max(1, round(stats.reset_time - time.time()))

    @property
    def _counter(self) -> SlidingWindowCounterRateLimiter:
        return self._own if time.monotonic() < self._away_until else self._shared

    async def _taken_somewhere(self, subject: str) -> bool:
        try:
            return await self._take(self._counter, subject)
        except (RedisError, OSError) as away:
            logger.warning("requests are counted by each process for itself: %s", away)
            self._away_until = time.monotonic() + _PAUSE
            return await self._take(self._counter, subject)

    def _use_one(self, subject: str) -> bool:
        """Use one of the requests that are taken already; say whether there was one."""
        left, until = self._left(subject)
        if left:
            self._taken[subject] = (left - 1, until)
        return left > 0

    def _left(self, subject: str) -> tuple[int, float]:
        """Return how many requests are taken and not used, and until when they may be."""
        left, until = self._taken.get(subject, (0, 0.0))
        return (left, until) if time.monotonic() < until else (0, until)

    async def _take(self, counter: SlidingWindowCounterRateLimiter, subject: str) -> bool:
        """Take some requests, or the last one that there is; say whether there was one."""
        if self._handful > 1 and await counter.hit(
            self._item, self._name, subject, cost=self._handful
        ):
            left, _ = self._left(subject)
            self._taken[subject] = (left + self._handful - 1, time.monotonic() + self._fresh)
            return True
        return await counter.hit(self._item, self._name, subject)


def _address(broker_url: str) -> str:
    """Return the address of a Redis as its own client has it."""
    parts = urlsplit(broker_url)
    if parts.scheme != "redis+socket":
        return broker_url
    return f"unix://{parts.netloc}{parts.path}?{parts.query.replace('virtual_host=', 'db=')}"
