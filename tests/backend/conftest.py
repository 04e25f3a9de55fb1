"""A foreign Celery project on the session's servers, with a worker in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from celery_app.client import Client
from celery_app.postgres.connection import Database
from tests.backend.project import make_project


@pytest.fixture(scope="session")
def urls(client: Client) -> tuple[str, str]:
    """The broker and the result backend of the session."""
    from celery_app.celery import settings

    return settings.broker_url, f"agentpg+{settings.database_url}"


@pytest.fixture(scope="session")
def database(client: Client) -> Database:
    """The session's database, for a look behind the scenes."""
    from celery_app.celery import database

    return database


@pytest.fixture
def project(urls: tuple[str, str]) -> Iterator[Callable[..., Celery]]:
    """Make projects with options of their own; they are closed after the test."""
    made: list[Celery] = []

    def make(queue: str = "", **options: Any) -> Celery:
        made.append(make_project(*urls, queue or f"foreign-{uuid4().hex[:8]}", **options))
        return made[-1]

    yield make
    for app in made:
        close(app)


@pytest.fixture(scope="package")
def own(urls: tuple[str, str]) -> Iterator[Celery]:
    """The project, with a worker of four threads."""
    app = make_project(*urls, f"foreign-{uuid4().hex[:8]}")
    with start_worker(
        app, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30
    ):
        yield app
    close(app)


def close(app: Celery) -> None:
    """Let go of an app's connections."""
    app.backend.result_consumer.stop()
    app.close()


def task(app: Celery, name: str) -> Any:
    """Return one of the project's tasks by its short name."""
    return app.tasks[f"foreign.{name}"]
