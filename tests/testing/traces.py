"""What is left of a run of tests, if anything."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from celery_app.testing.leftovers import ROOT


def processes_below(folder: Path) -> list[psutil.Process]:
    """Return the processes of runs of tests whose folders are in another one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(ROOT, "").startswith(f"{folder}/"):
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
