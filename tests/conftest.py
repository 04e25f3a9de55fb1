"""One real stack for the whole session; every test that runs work starts its own worker.

With CONFIG_PATH in the environment the same tests use separately started servers.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The app reads its settings when it is imported, so the environment comes first. A unix socket's
# path must be short.
_HOME = Path(tempfile.mkdtemp(prefix="agent-test-"))
os.environ["AI_AGENT_HOME"] = str(_HOME)
os.environ.update(
    {
        "AI_AGENT__LEASES__SECONDS": "3",
        "AI_AGENT__LEASES__RENEW_SECONDS": "1",
        "AI_AGENT__RECOVERY__INTERVAL": "1",
        "AI_AGENT__RECOVERY__GRACE": "2",
        "AI_AGENT__IMPORTS": "[tests.own_tasks]",
        "AI_AGENT__TOOLS__IMPORTS": "[tests.own_tools.jot, tests.own_tools.die, tests.own_tools.wait]",
        "AI_AGENT__LIMITS": "{'project:narrow*': {concurrency: 3}, 'project:slow': {rate: 4/s}}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
)

from celery_app.client import Client  # noqa: E402
from celery_app.stack.profile import embedded_stack, is_embedded  # noqa: E402
from tests.leftovers import cancel_leftovers  # noqa: E402
from tests.worker_process import WorkerProcess  # noqa: E402

# A script starts with it ignored whatever it runs in the background, and so would all be that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_opened: list[Client] = []


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """A client of the session's servers."""
    _opened.append(Client())
    yield _opened[0]
    _opened.clear()
    from celery_app.celery import app, database

    app.backend.result_consumer.stop()
    app.close()
    database.dispose()


@pytest.fixture(scope="module", autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """Let no task go on when the tests of its module are over: the next worker would do it."""
    yield
    if _opened:
        cancel_leftovers(_opened[0])


@pytest.fixture(scope="module")
def worker(client: Client) -> Iterator[WorkerProcess]:
    """A worker for the tests of one module."""
    with WorkerProcess() as process:
        yield process
        # Otherwise it would finish first what it is doing.
        cancel_leftovers(client)


def pytest_sessionfinish() -> None:
    if is_embedded():
        embedded_stack().stop()
    shutil.rmtree(_HOME, ignore_errors=True)
