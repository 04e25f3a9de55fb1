"""Where the data of a case is: on servers of its own, or in a database and queues of its own.

Invariant: two cases never share a database, a queue or a key of the broker.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery_app.postgres.connection import Database
from celery_app.postgres.databases import copy_database, drop_database
from celery_app.postgres.migrate import migrate
from celery_app.security.keys import KeyRing
from celery_app.stack.postgres import DATABASE, PORT, USER, PostgresServer
from celery_app.stack.server import Server
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer
from celery_app.urls import database_url

__all__ = ["Place", "SharedServers", "data_servers", "own_servers"]


@dataclass(frozen=True)
class Place:
    """Servers in a home, and what of them is the case's."""

    home: Path
    database: str = DATABASE
    system: str = "tests"

    def settings(self) -> dict[str, Any]:
        """Return the settings that lead there."""
        postgres, valkey = PostgresServer(self.home), ValkeyServer(self.home)
        return {
            # Every name at the broker begins with it.
            "system": {"name": self.system},
            "components": {
                "database": {
                    "host": str(postgres.socket.parent), "port": PORT, "name": self.database,
                    "user": USER, "password_file": None,
                },
                "message_bus": {"unix_socket": str(valkey.socket), "db": 0, "password_file": None},
            },
            "security": {"encryption": {"key_path": str(self.home / "keys")}},
        }  # fmt: skip


def data_servers(home: Path) -> list[Server]:
    """Return the servers that hold the data of cases."""
    return [PostgresServer(home), ValkeyServer(home)]


@contextmanager
def own_servers(home: Path) -> Iterator[Place]:
    """Give servers that nobody else uses."""
    stack = _stack(home)
    stack.start()
    try:
        yield Place(home)
    finally:
        stack.stop()


class SharedServers:
    """Servers on which each case has a database and a prefix of its own. Safe to share between threads.

    Args:
        home: Their home; they are started when the first case needs them.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.Lock()
        self._running = False

    @contextmanager
    def place(self, name: str) -> Iterator[Place]:
        """Give a database and queues that nobody else uses."""
        maintenance = self._database("postgres")
        with self._lock:
            self._start()
            copy_database(maintenance, DATABASE, name)
        try:
            yield Place(self.home, name, name)
        finally:
            drop_database(maintenance, name)

    def stop(self) -> None:
        """Give back what this process has of them; the servers are ended with their home."""
        self._database("postgres").dispose()
        self._running = False

    def _start(self) -> None:
        if not self._running:
            _stack(self.home).start()
            template = self._database(DATABASE)
            migrate(template)
            # Nobody may be connected to what is copied.
            template.dispose()
            self._running = True

    def _database(self, name: str) -> Database:
        folder = str(PostgresServer(self.home).socket.parent)
        return Database(database_url(USER, None, folder, PORT, name), patience=False)


def _stack(home: Path) -> Stack:
    return Stack(home, data_servers(home), KeyRing(home / "keys"))
