"""`Stack`: the servers of one home, started and stopped together.

Invariant: of any number of processes that start or stop the same home, one acts at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import psutil

from celery_app.security.keys import KeyRing
from celery_app.stack.home import Home
from celery_app.stack.llama import LlamaServer
from celery_app.stack.postgres import PostgresServer
from celery_app.stack.server import Server
from celery_app.stack.valkey import ValkeyServer

__all__ = ["ServerStatus", "Stack"]


class ServerStatus(TypedDict):
    """One line of `Stack.status`."""

    name: str
    state: str
    """`running`, `stopped`, or `silent` (a process that does not answer, or not yet)."""
    pid: int | None
    address: str
    since: str | None
    """When the process started (ISO 8601, UTC)."""


class Stack:
    """The embedded servers of one home, in the order in which they start.

    Starting needs a few seconds the first time and about two later; the servers then outlive the
    process that started them. Give `servers` to start others than PostgreSQL, Valkey and the model,
    and `keys` that a home gets before its database is made.
    """

    def __init__(
        self, home: Path, servers: Sequence[Server] | None = None, keys: KeyRing | None = None
    ) -> None:
        self.home = Home(home)
        self.keys = keys
        if servers is None:
            path = self.home.path
            servers = (PostgresServer(path), ValkeyServer(path), LlamaServer(path))
        self.servers = servers

    def __repr__(self) -> str:
        return f"Stack({str(self.home.path)!r})"

    def start(self) -> None:
        """Return when every server answers; those that already do are left alone.

        Raises ConfigurationError (the home or the installation is unusable) or ServiceUnavailable.
        """
        self.home.prepare()
        with self.home.locked("stack"):
            self._make_first_key()
            for server in self.servers:
                server.start()

    def _make_first_key(self) -> None:
        # What an older database holds is in clear: there a person decides when to seal it.
        new = any(isinstance(each, PostgresServer) and each.is_new for each in self.servers)
        if self.keys is not None and new and self.keys.current is None:
            self.keys.appoint(self.keys.add())

    def stop(self) -> None:
        """End the servers of this home, last started first; nothing else is touched."""
        self.home.check()
        if not self.home.path.exists():
            return
        with self.home.locked("stack"):
            for server in reversed(self.servers):
                server.stop()
            self.home.remove_link()

    def running(self) -> bool:
        """Whether every server answers now."""
        return all(server.running() for server in self.servers)

    def status(self) -> list[ServerStatus]:
        """Tell about each server, in the order in which they start."""
        self.home.check()
        return [_status(server) for server in self.servers]


def _status(server: Server) -> ServerStatus:
    pid = server.pid
    since = None
    if pid is not None:
        with suppress(psutil.Error):
            started = datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
            since = started.isoformat(timespec="seconds")
    state = "running" if server.running() else "silent" if pid is not None else "stopped"
    return {
        "name": server.name,
        "state": state,
        "pid": pid,
        "address": server.address,
        "since": since,
    }
