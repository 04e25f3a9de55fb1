"""`Context`: where one case runs: servers, a home and queues of its own, and the process of the case.

Invariant: nothing of it outlives it, and no two of them share anything but the model.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery_app.security.keys import KeyRing
from celery_app.sources import PREFIX
from celery_app.stack.postgres import DATABASE, PORT, USER, PostgresServer
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer
from celery_app.testing.leftovers import ROOT, data_servers, kill_all
from celery_app.testing.order import About
from celery_app.testing.results import TestError
from celery_app.testing.suite import TestCase

__all__ = ["Context", "settings_of"]

#: Seconds beyond those of the case that its process is given, to start and to end.
_MARGIN = 60.0
#: So that what is lost is found within seconds, where cases lose something.
_QUICK = {
    "leases": {"seconds": 3, "renew_seconds": 1},
    "recovery": {"interval": 1, "grace": 2},
    "worker": {"visibility_timeout": 5},
}
_LAST_LINES = 3


class Context:
    """A place for one case. Use it as a context manager.

    Args:
        root: The folder of the run of tests.
        name: A name for the case's folder in it.
        case: The case.
        about: What it is to be told.
        settings: What of the settings is to be different.
    """

    def __init__(
        self, root: Path, name: str, case: TestCase, about: About, settings: dict[str, Any]
    ) -> None:
        self.home = root / name
        self._root = root
        self._case = case
        self._about = about
        keys = KeyRing(self.home / "keys")
        self._stack = Stack(self.home, data_servers(self.home), keys)
        self._settings = settings

    def __enter__(self) -> Self:
        self._stack.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        kill_all({ROOT: str(self._root), "AI_AGENT_HOME": str(self.home)})
        self._stack.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the case's processes."""
        kept = {name: value for name, value in os.environ.items() if name != "AI_AGENT_TOKEN"}
        own = {
            ROOT: str(self._root),
            "AI_AGENT_HOME": str(self.home),
            "TMPDIR": str(self._root / "tmp"),
        }
        quick = settings_of(_QUICK) if self._about.apart else {}
        return {**kept, **own, **quick, **settings_of(self._settings), **settings_of(self._servers())}

    def _servers(self) -> dict[str, Any]:
        postgres, valkey = PostgresServer(self.home), ValkeyServer(self.home)
        return {
            "components": {
                "database": {
                    "host": str(postgres.socket.parent), "port": PORT, "name": DATABASE,
                    "user": USER, "password_file": None,
                },
                "message_bus": {"unix_socket": str(valkey.socket), "db": 0, "password_file": None},
                "ollama": {"hosts": [self._about.model_url]},
            },
            "security": {"encryption": {"key_path": str(self.home / "keys")}},
        }  # fmt: skip

    def run(self) -> dict[str, Any]:
        """Run the case, and return what came of it as JSON values.

        Raises:
            TestError: Its process ended, or took too long.
        """
        order = {
            "case": self._case.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "about": asdict(self._about),
            "apart": self._about.apart,
        }
        with ExitStack() as stack:
            log = stack.enter_context((self.home / "lane.log").open("wb"))
            # -P: a file that lies about where tests are run is no module.
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "celery_app.testing.lane"],
                    env=self.environ,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                    text=True,
                )
            )
            stack.callback(process.kill)
            allowed = self._case.timeout * self._case.repeat + _MARGIN
            alarm = threading.Timer(allowed, process.kill)
            stack.callback(alarm.cancel)
            alarm.start()
            told = _ask(process, json.dumps(order))
            if told:
                outcome: dict[str, Any] = json.loads(told)
                return outcome
            late = f"it was not over after {allowed:g} s" if not alarm.is_alive() else "it ended"
        raise TestError(f"{late}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = (self.home / "lane.log").read_text(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-_LAST_LINES:]) or "it wrote no log"


def _ask(process: subprocess.Popen[str], order: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(order)
        process.stdin.close()
    except BrokenPipeError:
        return ""
    return process.stdout.readline()


def settings_of(values: Mapping[str, Any], prefix: str = PREFIX) -> dict[str, str]:
    """Return settings as the variables that lay them over those that hold."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key.upper()}"
        if isinstance(value, dict) and value and all(_is_plain(inner) for inner in value):
            found |= settings_of(value, f"{name}__")
        else:
            found[name] = json.dumps(value)
    return found


def _is_plain(key: Any) -> bool:
    """Whether a key may be part of a variable's name: those of `limits` may not."""
    return isinstance(key, str) and key.isidentifier() and key == key.lower()
