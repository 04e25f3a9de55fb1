"""Tools as a user of the system writes them: plain functions, nothing of ours is imported."""

from __future__ import annotations

import os
import signal
import time


def jot(file: str, line: str) -> str:
    """Write a line at the end of a file.

    Args:
        file: The path of the file.
        line: What to write.
    """
    with open(file, "a") as notes:
        notes.write(f"{line}\n")
    return f"noted {line}"


def die(marker: str) -> str:
    """Kill the process that calls this first.

    Args:
        marker: A file that is made by it.
    """
    if os.path.exists(marker):
        return "alive"
    with open(marker, "w"):
        os.kill(os.getpid(), signal.SIGKILL)
    return "dead"


def wait(seconds: float) -> str:
    """Wait a while."""
    time.sleep(seconds)
    return "waited"
