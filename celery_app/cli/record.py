"""`Record`: the file and the lock by which a home knows its `up`.

Invariant: a process counts as the recorded one only if it also has the start time that was
recorded, so an id that the system has given to somebody else since is never touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from celery_app.errors import ConfigurationError
from celery_app.stack.home import Home
from celery_app.stack.processes import lives, wait_for_ends

__all__ = ["Record", "Standing", "already_up", "kill_groups"]

#: Start times are computed from a clock that may be corrected in between (seconds).
CLOCK_CORRECTION = 2.0


@dataclass(frozen=True)
class Standing:
    """An `up` as it was recorded, with those of its processes that still live."""

    detached: bool
    supervisor: psutil.Process | None
    children: dict[str, psutil.Process]


class Record:
    """What a home knows about its `up`.

    Args:
        home: The home.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.log = home.path / "log" / "up.log"

    @contextmanager
    def held(self, *, detached: bool) -> Iterator[None]:
        """Be the one `up` of this home, ending what a killed one left behind.

        Raises ConfigurationError when there is one already.
        """
        self._home.prepare()
        with self._path(".lock").open("a+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise already_up(self.read(), self._home) from None
            left_behind = self.read()
            if left_behind is not None:
                kill_groups(left_behind.children.values())
            self.write({}, detached=detached)
            try:
                yield
            finally:
                self._path(".json").unlink(missing_ok=True)

    def write(self, children: Mapping[str, int], *, detached: bool) -> None:
        """Record this process as the home's `up`, with the process ids of its children."""
        document = {
            "detached": detached,
            "supervisor": _identity(os.getpid()),
            "children": {name: _identity(pid) for name, pid in children.items()},
        }
        fresh = self._path(".json.new")
        fresh.write_text(json.dumps(document))
        fresh.replace(self._path(".json"))

    def read(self) -> Standing | None:
        """Return the recorded `up` of this home, if any of its processes lives."""
        try:
            document = json.loads(self._path(".json").read_text())
            detached = bool(document["detached"])
            supervisor = _living(document["supervisor"])
            found = {name: _living(child) for name, child in document["children"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        children = {name: process for name, process in found.items() if process is not None}
        return Standing(detached, supervisor, children) if supervisor or children else None

    def last_words(self) -> str:
        """Return the last line of the background log, for an error message."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            if lines:
                return lines[-1].strip()
        return "it wrote no log"

    def _path(self, suffix: str) -> Path:
        return self._home.path / "run" / f"up{suffix}"


def already_up(standing: Standing | None, home: Home) -> ConfigurationError:
    """Return the error that says which `up` this home has, and how to end it."""
    process = standing.supervisor if standing else None
    who = f" (process {process.pid})" if process else ""
    ends = "`ai-agent down`" if standing is not None and standing.detached else "Ctrl-C there"
    return ConfigurationError(
        f"`ai-agent up` runs already for {home.path}{who}: {ends} ends it;"
        " another AI_AGENT_HOME makes room for a second one"
    )


def kill_groups(processes: Iterable[psutil.Process], patience: float = 10.0) -> None:
    """End processes and what they started: asked first, and killed after `patience` seconds."""
    asked = list(processes)
    for process in asked:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    wait_for_ends(asked, patience)
    for process in asked:
        # Each leads a group of its own, which outlives it while anything in it does.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _identity(pid: int) -> tuple[int, float]:
    with suppress(psutil.NoSuchProcess):
        return pid, psutil.Process(pid).create_time()
    return pid, 0.0


def _living(identity: list[float]) -> psutil.Process | None:
    pid, created = identity
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid))
        if abs(process.create_time() - created) < CLOCK_CORRECTION and lives(process):
            return process
    return None
