"""The `up` that runs without a terminal: its start, the wait for its worker, and its end.

Invariant: of any number of commands that need a worker at the same moment, one starts it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from celery_app.cli.record import Record, kill_groups
from celery_app.cli.system import note, this_home, workers
from celery_app.errors import ConfigurationError, ServiceUnavailable
from celery_app.stack.home import Home
from celery_app.stack.processes import lives, wait_for_ends
from celery_app.stack.profile import is_embedded

__all__ = ["end", "ensure_worker", "start"]

START_SECONDS = 90.0
#: Longer than a supervisor needs for its last word to its children.
END_SECONDS = 60.0
LONGEST_LOG = 10 * 2**20


def ensure_worker() -> None:
    """See that a worker will take the work: start one for the embedded servers, else say how."""
    if workers(any_one=True):
        return
    standing = Record(this_home()).read()
    if standing is not None and standing.supervisor is not None:
        note(f"waiting for the worker of `ai-agent up` (process {standing.supervisor.pid})")
        start()
    elif is_embedded():
        note("no worker answers: starting one in the background (`ai-agent down` ends it)")
        start("--no-flower", "--no-api")
    else:
        note("no worker answers, and the work waits for one: start it with `ai-agent worker`")


def start(*options: str) -> None:
    """Run `up` in the background and return when a worker answers; the system must be prepared.

    Raises:
        ServiceUnavailable: It ended, or no worker answered in time.
    """
    home = this_home()
    record = Record(home)
    home.prepare()
    with home.locked("up-start"):
        standing = record.read()
        running = standing.supervisor if standing else None
        _wait_for_worker(record, running or _spawn(record, options))


def end(home: Home) -> list[str]:
    """End what an `up` in the background left running; return the names of what was ended.

    Raises ConfigurationError when the home's `up` belongs to a terminal.
    """
    standing = Record(home).read()
    if standing is None:
        return []
    if standing.supervisor is not None:
        if not standing.detached:
            raise ConfigurationError(
                f"`ai-agent up` runs in a terminal (process {standing.supervisor.pid}): Ctrl-C there"
                " ends it, and `ai-agent down` only what runs in the background"
            )
        with suppress(psutil.NoSuchProcess):
            standing.supervisor.terminate()
        kill_groups(wait_for_ends([standing.supervisor], END_SECONDS), patience=0)
    kill_groups(child for child in standing.children.values() if lives(child))
    return sorted(standing.children)


def _spawn(record: Record, options: Sequence[str]) -> psutil.Process:
    if record.log.exists() and record.log.stat().st_size > LONGEST_LOG:
        record.log.replace(record.log.with_suffix(".log.1"))
    with record.log.open("ab") as log:
        # Not waited for: it is to outlive this process.
        process = subprocess.Popen(
            [sys.executable, "-m", "celery_app", "up", "--in-background", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process.returncode = 0  # disowned: Python would warn about it at our end
    return psutil.Process(process.pid)


def _wait_for_worker(record: Record, supervisor: psutil.Process) -> None:
    until = time.monotonic() + START_SECONDS
    while not workers(0.5, any_one=True):
        if not lives(supervisor):
            raise ServiceUnavailable(
                f"the background `up` ended: {record.last_words()} (log: {record.log})"
            )
        if time.monotonic() > until:
            raise ServiceUnavailable(
                f"no worker answered within {START_SECONDS:g} s: see {record.log}"
            )
