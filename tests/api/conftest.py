"""The API of this process, and whoever asks it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from celery_app.celery import access, database
from celery_app.client import Client
from tests.api.serving import Served


@pytest.fixture(scope="module")
def served(client: Client) -> Iterator[Served]:
    """The API, for the tests of one module."""
    with Served() as served:
        yield served


@pytest.fixture(scope="module")
def asking(served: Served) -> Iterator[httpx.Client]:
    """The user of this machine, with no token."""
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as asking:
        yield asking


@pytest.fixture(scope="module")
def remote(served: Served) -> Client:
    """A client over HTTP."""
    return Client(url=served.url)


@pytest.fixture(scope="module")
def stranger(client: Client) -> Iterator[str]:
    """A token that the policy allows nothing."""
    name = f"stranger-{uuid4().hex[:6]}"
    yield access.create(name)[1]
    database.rows("DELETE FROM token WHERE name = :name", name=name)
