"""One LISTEN connection for a whole process, however many wait.

Invariants
  * Only the listener's own thread touches its connection; others leave requests and wake it. What it
    calls back may use `rows`: the server's end of that connection is awake already.
  * LISTEN comes first, then a look at the tables: what was announced in between is never missed.
  * After a lost connection, and every few seconds in any case, subscribers look at the tables again,
    so that a lost notification delays them and never strands them.
  * Nobody keeps a connection for nothing: where no one has waited for a while, it is closed until
    somebody does.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import psycopg2

from celery_app.postgres.connection import Database, run_statement

logger = logging.getLogger(__name__)

#: Seconds between safety looks, and before a broken connection is tried again.
SAFETY_INTERVAL = 5.0
RECONNECT_PAUSE = 0.5
#: Safety looks without anybody waiting after which the connection is given back.
_IDLE_LOOKS = 6


class Listener:
    """A thread that hears Postgres notifications.

    Args:
        database: Where to listen.
        on_payloads: Called in the listener's thread with the payloads that arrived together.
        on_resync: Called in the listener's thread after a reconnect and at every safety interval:
            look at the tables for everything.
        on_listening: Called in the listener's thread after each `listen`, when its channels are in
            force: look at the tables for what was announced before that. By default `on_resync`.
        is_idle: Tells whether nobody waits; by default somebody always does.
    """

    def __init__(
        self,
        database: Database,
        on_payloads: Callable[[list[str]], None],
        on_resync: Callable[[], None],
        on_listening: Callable[[], None] | None = None,
        is_idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._on_payloads = on_payloads
        self._on_resync = on_resync
        self._on_listening = on_listening or on_resync
        self._is_idle = is_idle
        self._wanted: set[str] = set()
        self._asked = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        # Two ends of one wire: the thread selects on the alarm, others ring the bell.
        self._wire: tuple[socket.socket, socket.socket] | None = None
        self._closing = False
        self._connection: Any = None

    def rows(self, sql: str, **values: Any) -> Sequence[Any]:
        """Run one statement on the listening connection; to be called from the callbacks only."""
        return run_statement(self._connection, sql, values)

    def listen(self, channels: Iterable[str]) -> None:
        """Hear these channels too; `on_listening` follows once they are in force. Returns at once."""
        with self._lock:
            self._wanted.update(channels)
            self._asked = True
            if self._thread is None or self._pid != os.getpid():
                self._start()
        self._ring()

    def forget(self, channels: Iterable[str]) -> None:
        """Hear these channels no longer. Returns at once."""
        with self._lock:
            self._wanted.difference_update(channels)
        self._ring()

    def close(self) -> None:
        """Stop the thread and close its connection."""
        with self._lock:
            thread, self._thread, self._closing = self._thread, None, True
        self._ring()
        if thread is not None and thread.is_alive() and self._pid == os.getpid():
            thread.join(timeout=5)
        self._cut_wire()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._closing = False
        # A forked child must not share the wire of its parent.
        self._cut_wire()
        alarm, bell = self._wire = socket.socketpair()
        alarm.setblocking(False)
        bell.setblocking(False)
        self._thread = threading.Thread(
            target=self._run, args=(alarm,), name="postgres-listener", daemon=True
        )
        self._thread.start()

    def _cut_wire(self) -> None:
        wire, self._wire = self._wire, None
        for end in wire or ():
            end.close()

    def _ring(self) -> None:
        if self._wire is None:
            return
        try:
            self._wire[1].send(b"!")
        except OSError:
            # Full or closed: somebody rang already, or nobody is there to hear it.
            return

    def _run(self, alarm: socket.socket) -> None:
        while not self._closing and self._thread is threading.current_thread():
            try:
                connection = self._database.listening_connection()
            except psycopg2.Error as error:
                logger.warning("cannot listen for notifications: %s", str(error).strip())
                _wait_for(alarm, RECONNECT_PAUSE)
                continue
            self._connection = connection
            try:
                self._serve(connection, alarm)
            except (psycopg2.Error, OSError) as error:
                logger.warning("listening connection lost: %s", str(error).strip())
                _wait_for(alarm, RECONNECT_PAUSE)
            finally:
                connection.close()

    def _serve(self, connection: Any, alarm: socket.socket) -> None:
        heard: set[str] = set()
        resync = True
        idle_looks = 0
        while not (self._closing or self._gives_up(idle_looks)):
            with self._lock:
                fresh, stale = self._wanted - heard, heard - self._wanted
                asked, self._asked = self._asked, False
            if fresh or stale:
                words = [f'LISTEN "{channel}";' for channel in sorted(fresh)]
                words += [f'UNLISTEN "{channel}";' for channel in sorted(stale)]
                with connection.cursor() as cursor:
                    cursor.execute("".join(words))
                heard = (heard | fresh) - stale
            if resync:
                self._guarded(self._on_resync)
            elif asked:
                self._guarded(self._on_listening)
            readable, _, _ = select.select([connection, alarm], [], [], SAFETY_INTERVAL)
            resync = not readable
            idle_looks = idle_looks + 1 if resync and self._is_idle() else 0
            if alarm in readable:
                alarm.recv(4096)
            connection.poll()
            payloads = [notify.payload for notify in connection.notifies]
            connection.notifies.clear()
            if payloads:
                self._guarded(partial(self._on_payloads, payloads))

    def _gives_up(self, idle_looks: int) -> bool:
        if idle_looks < _IDLE_LOOKS:
            return False
        with self._lock:
            if self._asked:
                return False
            self._thread = None
            self._wanted.clear()
            return True

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except psycopg2.Error:
            raise
        except Exception:
            # The listener serves every waiter of the process: one bad call must not end it.
            logger.exception("a listener's subscriber failed")


def _wait_for(alarm: socket.socket, seconds: float) -> None:
    readable, _, _ = select.select([alarm], [], [], seconds)
    if readable:
        alarm.recv(4096)
