"""Servers of a measurement's own, in a folder that is gone afterwards."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2
import redis
from psycopg2 import sql

from celery_app.stack.postgres import DATABASE, PORT, USER, PostgresServer
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer
from celery_app.urls import database_url, socket_url


@dataclass(frozen=True)
class Servers:
    """A PostgreSQL and a Valkey, each on a unix socket, both writing to disk as in daily use."""

    home: Path
    postgres: PostgresServer
    valkey: ValkeyServer

    @property
    def database_url(self) -> str:
        """SQLAlchemy's URL of the database."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return SQLAlchemy's URL of one of PostgreSQL's databases."""
        return database_url(USER, None, str(self.postgres.socket.parent), PORT, database)

    def make_database(self, name: str) -> str:
        """Make an empty database, in the place of an older one; return SQLAlchemy's URL of it."""
        folder = str(self.postgres.socket.parent)
        connection = psycopg2.connect(host=folder, port=PORT, user=USER, dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for order in ("DROP DATABASE IF EXISTS {} WITH (FORCE)", "CREATE DATABASE {}"):
                    cursor.execute(sql.SQL(order).format(sql.Identifier(name)))
        finally:
            connection.close()
        return self.url_of(name)

    def broker_url(self, db: int = 0) -> str:
        """Return kombu's URL of one of Valkey's databases."""
        return socket_url(None, self.valkey.socket, db)

    def open_port(self) -> int:
        """Let Valkey listen on a free port of the loopback interface too; return the port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with redis.Redis(unix_socket_path=self.valkey.address) as client:
            client.config_set("bind", "127.0.0.1")
            client.config_set("port", port)
        return port


@contextmanager
def scratch_servers() -> Iterator[Servers]:
    """Start both servers; stop and forget them when the block ends."""
    home = Path(tempfile.mkdtemp(prefix="agent-bench-"))
    postgres, valkey = PostgresServer(home), ValkeyServer(home)
    stack = Stack(home, [postgres, valkey])
    try:
        stack.start()
        yield Servers(home, postgres, valkey)
    finally:
        stack.stop()
        shutil.rmtree(home, ignore_errors=True)


def processor_seconds(*pids: int | None) -> float:
    """Return what these processes, and all that they started, have used of processors."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += sum(one.cpu_times()[:2])
        # What its children had used that have ended.
        total += sum(process.cpu_times()[2:4])
    return total
