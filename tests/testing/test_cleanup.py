"""However a run of tests ends, nothing of it is left: no process, no file, no server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from celery_app.testing.environment import TestEnvironment
from celery_app.testing.leftovers import remove_orphans
from celery_app.testing.processes import wait_until
from tests.testing.traces import folders, processes_in

SUITE = """\
name: endless
cases:
  - {name: one, steps: [{task: chore.sleep, args: [300], timeout: 400}]}
  - {name: two, steps: [{task: chore.sleep, args: [300], timeout: 400}]}
"""


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run an endless suite; give its process and the folder of it, once its cases run."""
    suite = folder / "endless.agenttest.yaml"
    suite.write_text(SUITE)
    (folder / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "celery_app", "test", str(suite)],
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        start_new_session=True,
    )
    try:
        wait_until(
            lambda: _logs(folder).count("Task chore.sleep[") >= 2,
            90,
            "the cases do not run",
        )
        [root] = (folder / "tmp").glob("ai-agent-test-*")
        yield process, root
    finally:
        process.kill()
        process.wait()


def _logs(folder: Path) -> str:
    logs = folder.glob("tmp/ai-agent-test-*/case_*/lane.log")
    return "".join(log.read_text(errors="replace") for log in logs)


def assert_nothing_left(root: Path) -> None:
    wait_until(lambda: not root.exists(), 60, f"{root} is left")
    wait_until(lambda: not processes_in(root), 20, f"{processes_in(root)} are left")


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def test_after_ctrl_c(short: Path) -> None:
    with running(short) as (process, root):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert not root.exists()
        assert_nothing_left(root)


def test_after_kill(short: Path) -> None:
    with running(short) as (process, root):
        process.kill()
        process.wait()
        assert_nothing_left(root)


def test_after_the_watchdog_was_killed_too(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(short) as (process, root):
        [watchdog] = [
            each
            for each in psutil.process_iter()
            if "celery_app.testing.watchdog" in _line(each, root)
        ]
        watchdog.kill()
        process.kill()
        process.wait()
        assert root.exists()
        assert processes_in(root)
        monkeypatch.setattr("tempfile.tempdir", str(short / "tmp"))
        assert remove_orphans() == [root]
        assert_nothing_left(root)


def _line(process: psutil.Process, root: Path) -> str:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    return line if str(root) in line else ""


def test_what_is_in_use_is_no_orphan() -> None:
    environment = TestEnvironment()
    environment.start()
    root = environment.root
    assert root is not None
    assert root not in remove_orphans()
    assert root.exists()
    environment.stop()
    assert root not in folders()
    assert_nothing_left(root)
    # It may be used again, and stopped twice.
    environment.stop()
    environment.start()
    environment.stop()
