"""A database of one's own, and a ring of keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from celery_app.celery import database as shared
from celery_app.celery import settings
from celery_app.client import Client
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.security.keys import KeyRing
from tests.security.audited import wipe


@pytest.fixture(scope="module")
def url(client: Client) -> Iterator[str]:
    """The URL of a database of our own."""
    name = f"audit_{uuid4().hex[:8]}"
    shared.rows(f"CREATE DATABASE {name}")
    shown = make_url(settings.database_url).set(database=name)
    yield shown.render_as_string(hide_password=False)
    shared.rows(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """That database, with no event in it."""
    database = Database(url)
    migrate(database)
    yield database
    wipe(database)
    database.dispose()


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys")
    ring.appoint(ring.add())
    return ring
