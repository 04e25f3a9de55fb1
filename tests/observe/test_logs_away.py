"""What is said while Postgres is away, and faster than it writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_app import LogContext, LogEvent, LogManager, LogStore
from celery_app.celery import database
from celery_app.client import Client
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.stack.postgres import PostgresServer
from celery_app.stack.stack import Stack
from celery_app.testing.processes import wait_until
from tests.observe.kept import messages, of, said

pytestmark = pytest.mark.timeout(240)


class TestAwayAndBack:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[tuple[PostgresServer, Database]]:
        server = PostgresServer(tmp_path)
        stack = Stack(tmp_path, [server])
        stack.start()
        from celery_app.stack.postgres import DATABASE, PORT, USER
        from celery_app.urls import database_url

        where = Database(database_url(USER, None, str(server.socket.parent), PORT, DATABASE))
        migrate(where)
        yield server, where
        where.dispose()
        stack.stop()

    def test_nothing_is_lost_while_postgres_restarts(
        self, server: tuple[PostgresServer, Database]
    ) -> None:
        postgres, where = server
        store = LogStore(where)
        manager = LogManager(store)
        for each in range(50):
            manager.log(LogEvent(message=f"{each}"))
        assert store.flush(30)
        Stack(postgres.home.path, [postgres]).stop()
        for each in range(50, 100):
            manager.log(LogEvent(message=f"{each}"))
        assert not store.flush(2)
        Stack(postgres.home.path, [postgres]).start()
        assert store.flush(60)
        assert messages(store.find(limit=1000)) == [f"{each}" for each in range(100)]
        store.close()

    def test_what_the_buffer_cannot_hold_is_counted(
        self, server: tuple[PostgresServer, Database]
    ) -> None:
        postgres, where = server
        store = LogStore(where, size=10)
        manager = LogManager(store)
        Stack(postgres.home.path, [postgres]).stop()
        manager.log(LogEvent(message="0"))
        assert not store.flush(3)
        begun = time.monotonic()
        for each in range(1, 25):
            manager.log(LogEvent(message=f"{each}"))
        assert time.monotonic() - begun < 5, "nobody waits for a server that is away"
        Stack(postgres.home.path, [postgres]).start()
        wait_until(lambda: len(store.find(limit=100)) == 11, 60)
        found = messages(store.find(limit=100))
        assert found[:10] == [f"{each}" for each in range(10)]
        assert found[10] == "15 events of the log were lost while Postgres was away"
        store.close()


def test_a_full_buffer_makes_whoever_logs_wait(client: Client) -> None:
    name = said("flood")
    store = LogStore(database, size=5)
    manager = LogManager(store)
    for each in range(200):
        manager.log(LogEvent(message=f"{each}"), LogContext(task_id=name))
    assert store.flush(30)
    assert messages(of(name)) == [f"{each}" for each in range(200)]
    store.close()
