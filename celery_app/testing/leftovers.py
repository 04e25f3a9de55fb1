"""What a run of tests leaves behind, and its removal.

Invariant: everything that a run of tests makes lives in one folder, and every process that it starts
carries the folder's name in its environment; so whoever knows the folder can remove all of it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from celery_app.errors import AgentSystemError
from celery_app.stack.llama import LlamaServer
from celery_app.stack.processes import wait_for_ends
from celery_app.stack.stack import Stack
from celery_app.testing.places import data_servers

__all__ = ["MODEL", "ROOT", "hold", "kill_all", "make_root", "remove", "remove_orphans"]

#: The variable by which the processes of a run of tests are known.
ROOT = "AI_AGENT_TEST_ROOT"
_PREFIX = "ai-agent-test-"
_LOCK = "lock"
MODEL = "model"


def make_root() -> Path:
    """Make the folder of a run of tests; short, for sockets stand in it."""
    root = Path(tempfile.mkdtemp(prefix=_PREFIX))
    for name in ("tmp", MODEL):
        (root / name).mkdir(mode=0o700)
    return root


def hold(root: Path) -> IO[bytes] | None:
    """Take the folder's lock, which belongs to whoever uses or removes it; None if somebody has it."""
    try:
        lock = (root / _LOCK).open("ab")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def remove(root: Path) -> None:
    """End every process of a run of tests, and remove its folder."""
    kill_all({ROOT: str(root)})
    for home in _homes(root):
        servers = [LlamaServer(home)] if home.name == MODEL else data_servers(home)
        with suppress(AgentSystemError, OSError):
            Stack(home, servers).stop()
    shutil.rmtree(root, ignore_errors=True)


def remove_orphans() -> list[Path]:
    """Remove what earlier runs left whose process is gone; return their folders."""
    found = []
    for root in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with _held(root) as mine:
            if mine:
                remove(root)
                found.append(root)
    return found


def kill_all(marks: dict[str, str]) -> None:
    """Kill every process with these variables in its environment, this one excepted."""
    found = [process for process in psutil.process_iter() if _carries(process, marks)]
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    wait_for_ends(found, 10)


def _carries(process: psutil.Process, marks: dict[str, str]) -> bool:
    if process.pid == os.getpid():
        return False
    with suppress(psutil.Error, OSError):
        environ = process.environ()
        return all(environ.get(name) == value for name, value in marks.items())
    return False


def _homes(root: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in root.iterdir() if path.is_dir() and path.name != "tmp"]
    return []


@contextmanager
def _held(root: Path) -> Iterator[bool]:
    lock = hold(root) if root.stat().st_uid == os.geteuid() else None
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.close()
