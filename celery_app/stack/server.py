"""What every embedded server is, and how its process is started, found again and ended.

Invariant: a process is signalled only after its command line has shown this home's mark, so a
process id that the system has given to somebody else since is never touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psutil

from celery_app.errors import ConfigurationError, ServiceUnavailable
from celery_app.stack.home import Home
from celery_app.stack.processes import PAUSE, wait_until

__all__ = ["Command", "LocalServer", "Server"]

# The shell leaves the server to the system's first process at once: it outlives us, and its end
# leaves no zombie behind in a long-running Python process. Its pid is written by the same breath.
LAUNCH = '"$@" </dev/null >&2 & echo $!'
LONGEST_LOG = 10 * 2**20  # bytes; a longer one is put aside at the next start


class Server(Protocol):
    """One server of the embedded stack."""

    @property
    def name(self) -> str:
        """A short word: `postgres`, `valkey`."""

    @property
    def address(self) -> str:
        """Where clients reach it: the path of a unix socket, or a URL."""

    @property
    def pid(self) -> int | None:
        """The process that serves this home, or None."""

    def start(self) -> None:
        """Return when it answers; does nothing more when it already does."""

    def stop(self) -> None:
        """Return when its process has ended; does nothing when there is none."""

    def running(self) -> bool:
        """Whether it answers now."""


@dataclass(frozen=True)
class Command:
    """How a server process is run: what, where, and as whom (arguments of `subprocess.run`)."""

    argv: list[str]
    folder: Path
    run_as: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


class LocalServer(ABC):
    """A server process of one home. A subclass says what to run and how to ask whether it answers.

    `mark` must stand in one argument of the command: it tells our process from any other.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float] = 60.0
    # Each signal with the seconds it is given before the next one.
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGTERM, 20.0),
        (signal.SIGKILL, 5.0),
    )

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        self.mark = f"ai-agent-{self.home.key}-{self.name}"
        self.log = self.home.path / "log" / f"{self.name}.log"

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients reach the server."""

    @abstractmethod
    def command(self) -> Command:
        """Prepare files and say what to run; called only while no process of ours runs."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask the server one cheap question; never raises."""

    def finish(self) -> None:  # noqa: B027 - most servers need nothing more
        """Do what is left once the server answers (called at every start)."""

    @property
    def pid(self) -> int | None:
        """The process that serves this home, or None."""
        process = self._process()
        return process.pid if process else None

    def running(self) -> bool:
        """Whether the server answers now."""
        return self.pid is not None and self.answers()

    def start(self) -> None:
        """Start the server unless it runs; return when it answers.

        Raises ConfigurationError (home or installation unusable) or ServiceUnavailable.
        """
        self.home.prepare()
        with self.home.locked(self.name):
            # Asked even when a process is there: one that was killed may linger for a moment.
            served = self._serves()
            if not served and self._process() is None:
                self._launch(self.command())
                served = self._serves()
            if not served:
                state = "does not answer" if self.pid else "ended while it was starting"
                raise ServiceUnavailable(
                    f"{self.name} {state}: {self.last_words()} (log: {self.log})"
                )
            self.finish()

    def stop(self) -> None:
        """End the server in order; raise ServiceUnavailable when it will not go."""
        self.home.check()
        if not self._pid_file.exists():
            return
        with self.home.locked(self.name):
            self._end()
            self._pid_file.unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the last line of the server's log, for an error message."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it wrote no log"
        return lines[-1].strip() if lines else "its log is empty"

    @property
    def _pid_file(self) -> Path:
        return self.home.path / "run" / f"{self.name}.pid"

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            arguments = _arguments(process)
        except (OSError, ValueError, psutil.Error):
            return None
        # A zombie has no command line; a process with another one only inherited the id.
        return process if any(self.mark in argument for argument in arguments) else None

    def _launch(self, command: Command) -> None:
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))
        # Opened here, since another user (see `run_as`) may not enter the home.
        try:
            with self.log.open("ab") as log, self._pid_file.open("wb") as pid_file:
                subprocess.run(
                    ["/bin/sh", "-c", LAUNCH, "sh", *command.argv],
                    cwd=command.folder,
                    env={"PATH": os.defpath, "LC_ALL": "C", **command.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=pid_file,
                    stderr=log,
                    umask=0o077,
                    start_new_session=True,
                    check=True,
                    **command.run_as,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                f"{self.name} cannot be started from {command.argv[0]} ({error}):"
                f" see that {command.folder} may be used by {command.run_as.get('user', 'you')}"
            ) from error

    def _serves(self) -> bool:
        """Wait until the process answers, or is no more; tell which."""
        # One answer is enough: a busy server may well miss the next question.
        ended = wait_until(lambda: self._process() is None or self.answers(), self.start_seconds)
        return ended and self._process() is not None

    def _end(self) -> None:
        for number, seconds in self.stop_signals:
            process = self._process()
            if process is None:
                return
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                return
            except psutil.AccessDenied as error:
                raise ConfigurationError(
                    f"{self.name} (process {process.pid}) was started by {process.username()}:"
                    " stop it as that user"
                ) from error
            if wait_until(lambda: self._process() is None, seconds):
                return
        raise ServiceUnavailable(
            f"{self.name} (process {self.pid}) did not end: see {self.log}, then end it yourself"
        )


def _arguments(process: psutil.Process) -> list[str]:
    # Empty for a moment while a process takes up its program, and while it ends: ask again.
    arguments: list[str] = []
    deadline = time.monotonic() + 1.0
    while not arguments and time.monotonic() < deadline:
        arguments = process.cmdline()
        if not arguments:
            time.sleep(PAUSE / 10)
    return arguments
