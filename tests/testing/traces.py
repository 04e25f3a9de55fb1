"""What is left of a run of tests, if anything."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import psutil


def processes_with(variable: str, value: str | None = None) -> list[psutil.Process]:
    """Return the processes that have a variable in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            given = process.environ().get(variable)
            if given is not None and value in (None, given):
                found.append(process)
    return found


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in a folder, or name it in their command lines."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in process.cwd() or str(folder) in " ".join(process.cmdline()):
                found.append(process)
    return found


def folders() -> set[Path]:
    """Return the folders of runs of tests."""
    return set(Path(tempfile.gettempdir()).glob("ai-agent-test-*"))
