"""`Supervisor`: a few child processes under one parent, from start to orderly end.

Invariants
  * A child that ends is started again, each time a little later, until a signal comes.
  * A child is a process group of its own: the terminal's Ctrl-C reaches the supervisor alone, and
    what a dead child left behind in its group is ended before it is started again.
  * `run` returns only when no child is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

__all__ = ["Child", "Supervisor"]

#: Seconds before a child is started again: doubled each time, and forgotten once it lived for long.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
LONG_LIFE = 60.0

#: How a child is asked to end, and the seconds it is given before the next word. Celery's worker
#: lets running tasks end at the first, and gives them five more seconds at the second.
WORDS = ((signal.SIGTERM, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Child:
    """A process to keep alive."""

    name: str
    argv: Sequence[str]


@dataclass
class _Place:
    """A child's place: the process that fills it now, if any."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float | None = None


@dataclass
class Supervisor:
    """Keeps children alive until a signal comes.

    Args:
        children: What to run.
        say: Told each line that a child prints, and what happens to it: `say(name, line)`.
        changed: Told the process id of each living child whenever they change.
    """

    children: Sequence[Child]
    say: Callable[[str, str], None]
    changed: Callable[[Mapping[str, int]], None] = lambda _: None
    _events: SimpleQueue[tuple[str, Any]] = field(default_factory=SimpleQueue, init=False)

    def run(self) -> None:
        """Start the children, and return when a signal came and all of them have ended."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        places = {child.name: _Place(child) for child in self.children}
        try:
            for place in places.values():
                self._start(place)
            self._told(places)
            self._keep_alive(places)
            self._end(places)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for place in places.values():
                _kill_group(place.process)

    def _on_signal(self, number: int, _frame: object) -> None:
        # SimpleQueue.put may be called in the middle of a get: it is made for this.
        self._events.put(("signal", signal.Signals(number).name))

    def _keep_alive(self, places: Mapping[str, _Place]) -> None:
        while True:
            dues = [place.due for place in places.values() if place.due is not None]
            kind, what = self._next(min(dues) if dues else None)
            if kind == "signal":
                self.say("up", f"{what}: stopping; once more to stop at once")
                return
            if kind == "ended":
                self._plan_restart(places[what])
            for place in places.values():
                if place.due is not None and place.due <= time.monotonic():
                    self._start(place)
            self._told(places)

    def _next(self, until: float | None) -> tuple[str, Any]:
        timeout = None if until is None else max(0.0, until - time.monotonic())
        try:
            return self._events.get(timeout=timeout)
        except Empty:
            return ("due", None)

    def _start(self, place: _Place) -> None:
        place.due = None
        place.started = time.monotonic()
        place.process = subprocess.Popen(
            place.child.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for work in (self._repeat_output, self._watch_end):
            threading.Thread(
                target=work, args=(place.child.name, place.process), daemon=True
            ).start()

    def _repeat_output(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.say(name, line.decode(errors="replace").rstrip())

    def _watch_end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._events.put(("ended", name))

    def _plan_restart(self, place: _Place) -> None:
        assert place.process is not None
        now = time.monotonic()
        if now - place.started > LONG_LIFE:
            place.failures = 0
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**place.failures)
        place.failures += 1
        place.due = now + pause
        how = _how_it_ended(place.process.returncode)
        self.say("up", f"{place.child.name} ended ({how}); starting it again in {pause:g} s")
        _kill_group(place.process)
        place.process = None

    def _end(self, places: Mapping[str, _Place]) -> None:
        for word, seconds in WORDS:
            alive = [place for place in places.values() if _is_alive(place.process)]
            if alive and word != signal.SIGTERM:
                names = ", ".join(place.child.name for place in alive)
                self.say("up", f"{names}: still there; sending {word.name}")
            for place in alive:
                _signal(place.process, word)
            if self._all_ended(places, time.monotonic() + seconds):
                return

    def _all_ended(self, places: Mapping[str, _Place], until: float) -> bool:
        while any(_is_alive(place.process) for place in places.values()):
            kind, _ = self._next(until)
            if kind == "due":
                return False
            if kind == "signal":
                for place in places.values():
                    _kill_group(place.process)
        return True

    def _told(self, places: Mapping[str, _Place]) -> None:
        self.changed(
            {name: place.process.pid for name, place in places.items() if place.process is not None}
        )


def _is_alive(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


def _signal(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None:
        return
    if number == signal.SIGKILL:
        _kill_group(process)
    else:
        process.send_signal(number)


def _kill_group(process: subprocess.Popen[bytes] | None) -> None:
    """End whatever lives in the child's group; the group keeps its number while anything does."""
    if process is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _how_it_ended(code: int) -> str:
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
