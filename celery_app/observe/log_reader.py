"""`LogReader`: what was said, for whoever may read it; and what is being said."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from celery_app.celery import guard, logs
from celery_app.postgres.notify import Listener
from celery_app.security.guard import Guard
from celery_app.store.logs import CHANNEL, LogFilter, LogStore, StoredEvent

__all__ = ["LogReader"]

_AT_ONCE = 500
#: Seconds after which somebody looks without having been pushed.
_LONGEST_LOOK = 5.0


class LogReader:
    """Reads the log.

    Args:
        permissions: Says whether whoever asks may; by default the user of this process.
        store: What is read; by default the log of the configured database.
    """

    def __init__(self, permissions: Guard | None = None, store: LogStore | None = None) -> None:
        self._permissions = permissions or guard()
        self._store = store or logs

    def find(
        self,
        wanted: LogFilter,
        limit: int = 100,
        before: int | None = None,
        *,
        after: int | None = None,
    ) -> list[StoredEvent]:
        """Return what is wanted, oldest first: the newest, the last before an id, or the next after one.

        Raises:
            PermissionDenied: Whoever asks may not read the log.
        """
        self.require()
        return self._store.find(wanted, limit=limit, before=before, after=after)

    def require(self) -> None:
        """Make sure that whoever asks may read the log. Raises `PermissionDenied`."""
        self._permissions.require("system.read", "system:logs")

    def follow(self, wanted: LogFilter, limit: int = 10) -> Iterator[StoredEvent]:
        """Yield the newest events that are wanted, and each further one as it is written; without an end.

        Raises:
            PermissionDenied: Whoever asks may not read the log.
        """
        self.require()
        return self._follow(wanted, limit)

    def _follow(self, wanted: LogFilter, limit: int) -> Iterator[StoredEvent]:
        news = threading.Event()
        listener = Listener(self._store.database, lambda _: news.set(), news.set)
        listener.listen([CHANNEL])
        try:
            last = self._store.newest_id()
            yield from (
                event for event in self._store.find(wanted, limit=limit) if event.id <= last
            )
            while True:
                news.clear()
                while found := self._store.find(wanted, limit=_AT_ONCE, after=last):
                    yield from found
                    last = found[-1].id
                news.wait(_LONGEST_LOOK)
        finally:
            listener.close()
