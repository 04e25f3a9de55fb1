"""Two sides of a comparison: processes with servers and a worker of their own that take turns.

Invariant: both sides do the same work in the same round, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Costs", "Side", "SideEnded", "compare", "serve"]

Costs = tuple[float, ...]
"""What one round took, in units that the benchmark chooses."""


class SideEnded(Exception):
    """A side has ended, or did not start; what it said stands above."""


class Side:
    """One side, started and warm.

    Args:
        command: A program that calls `serve`.
        environment: What makes this side what it is.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        while (line := self._read()).strip() != "ready":
            if not line:
                raise SideEnded("a side did not start")

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def ask(self, work: str) -> Costs:
        """Let it do a kind of work; return what that took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{work}\n")
        self._process.stdin.flush()
        costs = tuple(map(float, self._read().split()))
        if not costs:
            raise SideEnded(f"a side ended while it did {work}")
        return costs

    def end(self) -> None:
        """Let it end, and wait for that."""
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()


def serve(kinds: Iterable[str], work: Callable[[str], Costs]) -> None:
    """Be a side: do each kind of work once, then whatever is asked for, and print what it took."""
    for kind in kinds:
        work(kind)
    print("ready", flush=True)
    for line in sys.stdin:
        print(*work(line.strip()), flush=True)


def compare(
    module: str,
    sides: Mapping[str, Mapping[str, str]],
    kinds: Iterable[str],
    *,
    tasks: int,
    rounds: int,
) -> Iterable[tuple[str, dict[str, Costs]]]:
    """Yield for each kind of work the medians of each side, of one task."""
    command = [sys.executable, "-m", module, "--serve", "--tasks", str(tasks)]
    started = {name: Side(command, environment) for name, environment in sides.items()}
    for kind in kinds:
        costs: dict[str, list[Costs]] = {name: [] for name in started}
        for _ in range(rounds):
            for name, side in started.items():
                costs[name].append(side.ask(kind))
        yield kind, {name: _medians(each, tasks) for name, each in costs.items()}
    for side in started.values():
        side.end()


def _medians(costs: list[Costs], tasks: int) -> Costs:
    return tuple(statistics.median(values) / tasks for values in zip(*costs, strict=True))
