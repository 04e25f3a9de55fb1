"""Processes that others have started: whether one runs, and when it has ended.

Invariant: what has ended counts as ended, though nobody has asked for its exit code. Nobody ever does in a
container whose first process does not care for orphans.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

__all__ = ["PAUSE", "lives", "wait_for_ends", "wait_until"]

PAUSE = 0.02  # seconds between two questions


def lives(process: psutil.Process) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_for_ends(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until the processes have ended or the time is over; return those that still run."""
    asked = list(processes)
    wait_until(lambda: not any(map(lives, asked)), seconds)
    return [process for process in asked if lives(process)]


def wait_until(happened: Callable[[], bool], seconds: float) -> bool:
    """Ask `happened` until it says yes or the time is over; return its last answer."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
