"""A stack for tests that are written in Python.

Invariant: the app reads its settings once, when it is imported; so a process has one such stack, made
before that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery_app.errors import ConfigurationError
from celery_app.testing.environment import TestEnvironment
from celery_app.testing.leftovers import ROOT
from celery_app.testing.processes import WorkerProcess

__all__ = ["standing_stack"]


@contextmanager
def standing_stack() -> Iterator[Path]:
    """Run embedded servers and a worker for this process; give their home.

    Raises:
        ConfigurationError: The app was imported before, and is bound to other servers.
    """
    if "celery_app.celery" in sys.modules:
        raise ConfigurationError(
            "celery_app.celery was imported before the stack of the tests: import it in the tests"
        )
    environment = TestEnvironment()
    environment.start()
    try:
        assert environment.root is not None, "it was just set up"
        home = environment.root / "python"
        os.environ |= {ROOT: str(environment.root), "AI_AGENT_HOME": str(home)}
        from celery_app.celery import app, database, prepare

        prepare()
        with WorkerProcess("--without-gossip"):
            yield home
        app.backend.result_consumer.stop()
        app.close()
        database.dispose()
    finally:
        environment.stop()
        os.environ.pop(ROOT, None)
