"""Following a run: its events as they happen, and what its models say while they say it.

Invariant: a push from Postgres only says *look now*; events are read from the table, so none is
missed. Who follows a run makes himself known and is told of its events at once. What models say is told as it
comes, and is lost where nobody hears it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kombu.utils.json import loads

from celery_app.postgres.connection import Database
from celery_app.postgres.notify import Listener
from celery_app.store.events import EVENT, RunEvents
from celery_app.store.tasks import TaskStore
from celery_app.worker.leases import FOLLOW

__all__ = ["Pushes", "follow"]

#: Seconds after which somebody looks without having been pushed.
_LONGEST_LOOK = 1.0
#: Seconds between two signs that somebody follows, and for which one is believed.
_SIGN = 2.0
_BELIEVED = 10.0


class Pushes:
    """Wakes a waiter when one of the known tasks has ended, or something happened to a run, or was said.

    Args:
        database: Where the tasks live.
        events: Those of the run that is followed, if one is.
        said_by: The run whose models are to be heard, if any.
    """

    def __init__(
        self, database: Database, events: RunEvents | None = None, said_by: str | None = None
    ) -> None:
        self.known: set[str] = set()
        self.said: deque[dict[str, Any]] = deque()
        self._database = database
        self._events = events
        self._said_by = said_by
        self._signed_at = float("-inf")
        self._news = threading.Event()
        self._listener = Listener(database, self._heard, self._news.set)
        self._listener.listen(f"result_{number}" for number in range(64))
        if said_by is not None:
            self._listener.listen([f"said_{said_by}"])
        if events is not None:
            self._listener.listen([f"run_{events.root_id}"])
            self._sign()

    def wait(self, seconds: float) -> None:
        """Return when there is news, or after `seconds`."""
        if time.monotonic() >= self._signed_at + _SIGN:
            self._sign()
        self._news.wait(seconds)
        self._news.clear()

    def _sign(self) -> None:
        self._signed_at = time.monotonic()
        if self._events is not None:
            self._events.make_known(_BELIEVED)
        if self._said_by is not None:
            self._database.rows(
                "SELECT pg_notify('task_followed', :run)", run=f"{FOLLOW}{self._said_by}"
            )

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _heard(self, payloads: list[str]) -> None:
        for payload in payloads:
            if payload.startswith("{"):
                self.said.append(loads(payload))
        if self.said or EVENT in payloads or not self.known.isdisjoint(payloads):
            self._news.set()


def follow(store: TaskStore, task_id: str, after: int, text: bool) -> Iterator[dict[str, Any]]:
    """Yield each event of a task's run from the one after `after` on, until the run is over.

    With `text` also what its models say: `{kind: "text", at, task_id, attempt, text}`. An attempt
    that is made again begins anew.
    """
    root_id = store.get(task_id).root_id
    events = RunEvents(store.database, root_id, after)
    pushes = Pushes(store.database, events, root_id if text else None)
    try:
        while True:
            # Looked at before the events are: whatever ended it is then among them.
            over = store.get(root_id).state.is_final
            while pushes.said:
                at = datetime.now(UTC).isoformat()
                yield {"kind": "text", "at": at, **pushes.said.popleft()}
            yield from events.fresh()
            if over:
                return
            pushes.wait(_LONGEST_LOOK)
    finally:
        pushes.close()
