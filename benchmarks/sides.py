"""Two sides of a comparison: processes with servers and a worker of their own that take turns.

Invariant: both sides do the same work in the same round, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Compared", "Costs", "Side", "SideEnded", "compare", "serve"]

Costs = tuple[float, ...]
"""What one round took, in units that the benchmark chooses."""


class Compared(NamedTuple):
    """What a task costs on each of two sides (medians of all rounds), and what the first takes more.

    `more` is the median of the rounds' own ratios, less 1: what slows one round slows both of its halves.
    Many short rounds tell more than few long ones: a ratio of one round may be off by a fifth.
    """

    first: Costs
    second: Costs
    more: Costs


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
) -> Iterable[tuple[str, Compared]]:
    """Yield for each kind of work how two sides compare; who goes first changes from round to round."""
    command = [sys.executable, "-m", module, "--serve", "--tasks", str(tasks)]
    first, second = (Side(command, environment) for environment in sides.values())
    for kind in kinds:
        costs: list[tuple[Costs, Costs]] = []
        for number in range(rounds):
            if number % 2:
                late = second.ask(kind)
                costs.append((first.ask(kind), late))
            else:
                costs.append((first.ask(kind), second.ask(kind)))
        ratios = [tuple(a / b - 1 for a, b in zip(*each, strict=True)) for each in costs]
        ours, theirs = zip(*costs, strict=True)
        yield kind, Compared(_medians(ours, tasks), _medians(theirs, tasks), _medians(ratios))
    for side in (first, second):
        side.end()


def _medians(costs: Iterable[Costs], of: int = 1) -> Costs:
    return tuple(statistics.median(values) / of for values in zip(*costs, strict=True))
