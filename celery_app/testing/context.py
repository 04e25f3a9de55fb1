"""`Context`: where one case runs: a home and an environment of its own, and the process of the case.

Invariant: nothing of it outlives it, and no two of them share anything but the model.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery_app.sources import PREFIX
from celery_app.testing.leftovers import ROOT, kill_all
from celery_app.testing.order import About
from celery_app.testing.places import Place
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
        home: The folder of the case in it.
        place: Where its data is.
        case: The case.
        about: What it is to be told.
        settings: What of the settings is to be different.
        nursery: The socket of the process from which that of the case is forked.
    """

    def __init__(
        self,
        root: Path,
        home: Path,
        place: Place,
        case: TestCase,
        about: About,
        settings: dict[str, Any],
        nursery: Path,
    ) -> None:
        self.home = home
        self._root = root
        self._case = case
        self._about = about
        self._place = place
        self._settings = settings
        self._nursery = nursery
        self._process: int | None = None

    def __enter__(self) -> Self:
        self.home.mkdir(mode=0o700, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        kill_all({ROOT: str(self._root), "AI_AGENT_HOME": str(self.home)})
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process, signal.SIGKILL)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the case's processes."""
        kept = {name: value for name, value in os.environ.items() if name != "AI_AGENT_TOKEN"}
        own = {
            ROOT: str(self._root),
            "AI_AGENT_HOME": str(self.home),
            "TMPDIR": str(self._root / "tmp"),
        }
        quick = _QUICK if self._about.apart else {}
        hosts = {"components": {"ollama": {"hosts": [self._about.model_url]}}}
        laid = (quick, self._settings, self._rules(), self._place.settings(), hosts)
        return {
            **kept,
            **own,
            **{name: value for each in laid for name, value in settings_of(each).items()},
        }

    def _rules(self) -> dict[str, Any]:
        """Return the settings that lead to the case's own rules of alerts, if it has any."""
        if self._case.alerts is None:
            return {}
        file = Path(self._about.folder) / self._case.alerts
        return {"monitoring": {"alerts": {"file": str(file)}}}

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
        allowed = self._case.timeout * self._case.repeat + _MARGIN
        asked = {"environ": self.environ, "log": str(self.home / "lane.log"), "order": order}
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(allowed)
            try:
                line.connect(str(self._nursery))
                line.sendall(json.dumps(asked).encode() + b"\n")
                with line.makefile() as told:
                    self._process = int(told.readline())
                    outcome: dict[str, Any] = json.loads(told.readline())
            except TimeoutError:
                why = f"it was not over after {allowed:g} s"
            except (OSError, ValueError):
                why = "its process ended"
            else:
                return outcome
        raise TestError(f"{why}: {self._last_words()}")

    def _last_words(self) -> str:
        for log in (self.home / "lane.log", self._nursery.with_suffix(".log")):
            if log.exists() and (lines := log.read_text(errors="replace").strip().splitlines()):
                return " | ".join(line.strip() for line in lines[-_LAST_LINES:])
        return "it wrote no log"


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
