"""One embedded stack for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_app.stack.postgres import PostgresServer
from celery_app.stack.server import Server
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer


def data_servers(home: Path) -> list[Server]:
    """The servers that hold data; the model server has tests of its own."""
    return [PostgresServer(home), ValkeyServer(home)]


@pytest.fixture(scope="session")
def embedded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's servers."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def stack(embedded_home: Path) -> Iterator[Stack]:
    """The session's servers, running."""
    stack = Stack(embedded_home, data_servers(embedded_home))
    try:
        stack.start()
        yield stack
    finally:
        # Whatever a test has started in this home, the model server included.
        Stack(embedded_home).stop()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, not yet started."""
    stack = Stack(tmp_path / "other", data_servers(tmp_path / "other"))
    yield stack
    stack.stop()
