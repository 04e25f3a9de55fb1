"""One LISTEN connection for a whole process, however many wait.

Invariants
  * Only the listener's own thread touches its connection; others leave requests and wake it.
  * LISTEN comes first, then a look at the tables: what was announced in between is never missed.
  * After a lost connection, and every few seconds in any case, subscribers look at the tables again,
    so that a lost notification delays them and never strands them.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import psycopg2

from celery_app.postgres.connection import Database

logger = logging.getLogger(__name__)

#: Seconds between safety looks, and before a broken connection is tried again.
SAFETY_INTERVAL = 5.0
RECONNECT_PAUSE = 0.5


class Listener:
    """A thread that hears Postgres notifications.

    Args:
        database: Where to listen.
        on_payloads: Called in the listener's thread with the payloads that arrived together.
        on_resync: Called in the listener's thread when new channels are in force, after a reconnect
            and at every safety interval: look at the tables now.
    """

    def __init__(
        self,
        database: Database,
        on_payloads: Callable[[list[str]], None],
        on_resync: Callable[[], None],
    ) -> None:
        self._database = database
        self._on_payloads = on_payloads
        self._on_resync = on_resync
        self._wanted: set[str] = set()
        self._resync = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._alarm, self._bell = socket.socketpair()
        self._closing = False

    def listen(self, channels: Iterable[str]) -> None:
        """Hear these channels too; a resync follows once they are in force. Returns at once."""
        with self._lock:
            self._wanted.update(channels)
            self._resync = True
            if self._pid != os.getpid():
                self._start()
        self._ring()

    def close(self) -> None:
        """Stop the thread and close its connection."""
        with self._lock:
            thread, self._thread, self._closing = self._thread, None, True
        self._ring()
        if thread is not None and thread.is_alive() and self._pid == os.getpid():
            thread.join(timeout=5)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._closing = False
        # A forked child must not share the bell of its parent.
        self._alarm.close()
        self._bell.close()
        self._alarm, self._bell = socket.socketpair()
        for end in (self._alarm, self._bell):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="postgres-listener", daemon=True)
        self._thread.start()

    def _ring(self) -> None:
        try:
            self._bell.send(b"!")
        except OSError:
            # Full or closed: somebody rang already, or nobody is there to hear it.
            return

    def _run(self) -> None:
        while not self._closing:
            try:
                connection = self._database.listening_connection()
            except psycopg2.Error as error:
                logger.warning("cannot listen for notifications: %s", str(error).strip())
                self._wait_for_bell(RECONNECT_PAUSE)
                continue
            try:
                self._serve(connection)
            except (psycopg2.Error, OSError) as error:
                logger.warning("listening connection lost: %s", str(error).strip())
                self._wait_for_bell(RECONNECT_PAUSE)
            finally:
                connection.close()

    def _serve(self, connection: Any) -> None:
        heard: set[str] = set()
        resync = True
        while not self._closing:
            with self._lock:
                fresh = self._wanted - heard
                resync, self._resync = resync or self._resync, False
            if fresh:
                with connection.cursor() as cursor:
                    cursor.execute("".join(f'LISTEN "{channel}";' for channel in sorted(fresh)))
                heard |= fresh
            if resync:
                self._guarded(self._on_resync)
            readable, _, _ = select.select([connection, self._alarm], [], [], SAFETY_INTERVAL)
            resync = not readable
            if self._alarm in readable:
                self._alarm.recv(4096)
            connection.poll()
            payloads = [notify.payload for notify in connection.notifies]
            connection.notifies.clear()
            if payloads:
                self._guarded(partial(self._on_payloads, payloads))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            # The listener serves every waiter of the process: one bad call must not end it.
            logger.exception("a listener's subscriber failed")

    def _wait_for_bell(self, seconds: float) -> None:
        readable, _, _ = select.select([self._alarm], [], [], seconds)
        if readable:
            self._alarm.recv(4096)
