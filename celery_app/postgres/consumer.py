"""Pushed results: whoever waits on an AsyncResult is woken by Postgres.

Invariants
  * `consume_from` and `cancel_for` do no I/O: Celery calls them in workers for every group, and from
    destructors.
  * Nothing listens until somebody really waits.
  * An id is looked up once when its waiter starts; after that only when it is announced, and every
    few seconds in case an announcement was lost.
  * The listening connection belongs to the process that opened it; a forked child opens its own.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from celery import states
from celery.backends.asynchronous import BaseResultConsumer, detect_environment
from celery.exceptions import ImproperlyConfigured

from celery_app.postgres.connection import Database
from celery_app.postgres.notify import Listener

_SHARDS = 64


def result_channel(task_id: str) -> str:
    """Name the channel on which a result is announced (see announce() in schema/0001_graph.sql)."""
    return f"result_{hashlib.md5(task_id.encode(), usedforsecurity=False).digest()[0] % _SHARDS}"


class ResultConsumer(BaseResultConsumer):
    """Celery's side of the listener: which ids are waited for, and who is told."""

    def __init__(self, backend: Any, database: Database, *args: Any, **kwargs: Any) -> None:
        if detect_environment() != "default":
            raise ImproperlyConfigured(
                "the Postgres result backend cannot run under gevent or eventlet, because psycopg2 "
                "blocks there; use the prefork, threads or solo pool"
            )
        super().__init__(backend, *args, **kwargs)
        self._database = database
        self._reset()

    def _reset(self) -> None:
        self._listener = Listener(
            self._database,
            self._on_payloads,
            self._on_resync,
            self._on_listening,
            is_idle=lambda: not self._wanted,
        )
        self._wanted: set[str] = set()
        # Deques, because their ends are safe to use from any thread without a lock.
        self._new: deque[str] = deque()
        self._unseen: deque[str] = deque()
        self._news = threading.Condition()
        self._generation = 0
        self._seen = threading.local()

    def start(self, initial_task_id: str, **kwargs: Any) -> None:
        """Nothing to do: listening starts with the first wait."""

    def on_after_fork(self) -> None:
        """Forget the parent's listener; its thread and its waiters live there."""
        self._reset()

    def stop(self) -> None:
        """Close the listening connection."""
        self._listener.close()

    def consume_from(self, task_id: str) -> None:
        """Remember that somebody may wait for this id."""
        self._wanted.add(task_id)
        self._new.append(task_id)

    def cancel_for(self, task_id: str) -> None:
        """Forget an id; called from destructors."""
        self._wanted.discard(task_id)

    def on_wait_for_pending(self, result: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Listen for what nobody has waited for yet; the listener then looks at the table."""
        new = list(_drained(self._new))
        if new:
            self._unseen.extend(new)
            self._listener.listen({result_channel(task_id) for task_id in new})

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait until something has arrived since this thread last looked.

        Raises:
            TimeoutError: Nothing arrived in `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._news:
            while getattr(self._seen, "generation", -1) == self._generation:
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    raise TimeoutError
                self._news.wait(remaining)
            self._seen.generation = self._generation

    def _on_payloads(self, task_ids: list[str]) -> None:
        self._fetch([task_id for task_id in task_ids if task_id in self._wanted])

    def _on_listening(self) -> None:
        self._fetch([task_id for task_id in _drained(self._unseen) if task_id in self._wanted])

    def _on_resync(self) -> None:
        self._fetch(list(self._wanted))

    def _fetch(self, task_ids: list[str]) -> None:
        if not task_ids:
            return
        for meta in self.backend.metas(task_ids, self._listener.rows):
            if meta["status"] == states.PENDING:
                continue
            if meta["status"] in states.READY_STATES:
                self._wanted.discard(meta["task_id"])
            self.on_state_change(meta, None)
        with self._news:
            self._generation += 1
            self._news.notify_all()


def _drained(ids: deque[str]) -> Iterator[str]:
    while ids:
        try:
            yield ids.popleft()
        except IndexError:
            # Another thread took the last one.
            return
