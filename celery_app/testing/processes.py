"""Processes that a test starts, waits for and kills.

Invariant: whoever is waited for is asked again and again; nothing is taken to have happened because some
time has passed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import psutil

from celery_app.stack import processes

__all__ = ["WorkerProcess", "kill", "wait_until"]


def wait_until(
    happened: Callable[[], Any], seconds: float = 15, why: str | Callable[[], object] = ""
) -> None:
    """Ask until the answer is yes.

    Raises AssertionError after `seconds`, with how it then stands if `why` is a question.
    """
    if not processes.wait_until(happened, seconds):
        told = why() if callable(why) else why
        raise AssertionError(told or f"did not happen within {seconds:g} s")


def kill(pid: int | None, how: signal.Signals = signal.SIGKILL) -> None:
    """End a process, and wait until it has ended."""
    if pid is None:
        return
    process = psutil.Process(pid)
    process.send_signal(how)
    assert not processes.wait_for_ends([process], 20), f"process {pid} did not end"


class WorkerProcess:
    """`celery -A ... worker`, ready when the block begins and gone when it ends.

    Args:
        args: More arguments for the worker.
        app: The Celery app.
        environment: Variables that differ from this process's.
    """

    def __init__(self, *args: str, app: str = "celery_app", **environment: str) -> None:
        self.name = f"test-{uuid4().hex[:8]}"
        self._args = args
        self._app = app
        self._environment = environment
        self.log = tempfile.NamedTemporaryFile("w+", prefix="worker-", suffix=".log")  # noqa: SIM115

    def __enter__(self) -> Self:
        self.start()
        self.wait_until_ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.log.close()

    def start(self) -> None:
        """Start the process, without waiting for it."""
        command = [
            sys.executable, "-m", "celery", "-A", self._app, "worker",
            # Celery waits a second for the greetings of other workers.
            "-n", f"{self.name}@%h", "--loglevel", "INFO", "--without-mingle", *self._args,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **self._environment},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Wait for the worker's own words; fail with its log if it ends or takes too long."""
        deadline = time.monotonic() + timeout
        while f"{self.name}@" not in (text := self.text()) or " ready." not in text:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"worker not ready:\n{text}")
            time.sleep(0.05)

    def text(self) -> str:
        """Return what the worker has logged."""
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def kill(self) -> None:
        """End the process and its children as a power cut would."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def wait(self, timeout: float) -> int:
        """Wait until the process has ended by itself."""
        return self.process.wait(timeout=timeout)

    def stop(self) -> None:
        """End the process politely, or not."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
