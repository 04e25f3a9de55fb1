"""A database of a test's own, on the session's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from celery_app.client import Client
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate


@pytest.fixture
def empty(client: Client) -> Iterator[Database]:
    """An empty database with our schema."""
    from celery_app.celery import database, prepare, settings

    prepare()
    database.rows("DROP DATABASE IF EXISTS metrics_alone")
    database.rows("CREATE DATABASE metrics_alone")
    url = make_url(settings.database_url).set(database="metrics_alone")
    alone = Database(url.render_as_string(hide_password=False))
    migrate(alone)
    yield alone
    alone.dispose()
    database.rows("DROP DATABASE metrics_alone WITH (FORCE)")
