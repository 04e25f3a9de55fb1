"""What is measured, as values: tasks, attempts at them, model calls, queues and limits.

Invariant: all figures of one `Figures` are of one moment. A figure is None where nothing was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = [
    "CALL_BOUNDS",
    "COLD_SECONDS",
    "DURATION_BOUNDS",
    "WAIT_BOUNDS",
    "Calls",
    "Demand",
    "Figures",
    "Now",
    "QueueNow",
    "QuotaNow",
    "Spread",
    "Tasks",
]

#: Upper bounds (seconds) in which attempts, waits and model calls are counted.
DURATION_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
WAIT_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
CALL_BOUNDS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)

#: A server that took so long to load a model did not have it in memory.
COLD_SECONDS = 0.5


@dataclass(frozen=True)
class Spread:
    """How long something took: how often it was, in total, and at most for half, 95 and 99 of 100.

    `within` counts those that took no longer than each bound.
    """

    count: int = 0
    total: float = 0.0
    percentiles: tuple[float | None, float | None, float | None] = (None, None, None)
    within: tuple[int, ...] = ()

    @property
    def average(self) -> float | None:
        """The mean; None where there was nothing."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True)
class Tasks:
    """Tasks of one agent (None: of no agent) in one state."""

    agent: str | None
    state: str
    count: int


@dataclass(frozen=True)
class Calls:
    """Calls of a model on a host. Tokens are `timed` where the server said how long they took."""

    model: str
    host: str
    count: int
    prompt_tokens: int
    generated_tokens: int
    timed_prompt_tokens: int
    timed_generated_tokens: int
    load_seconds: float
    prompt_seconds: float
    generate_seconds: float
    cold_starts: int


@dataclass(frozen=True)
class QueueNow:
    """A queue: tasks that could run and wait, since when the oldest does (seconds), and what runs."""

    queue: str
    waiting: int
    running: int
    oldest_seconds: float


@dataclass(frozen=True)
class Demand:
    """For how long a model had or could have had work, and how long of that it had none in hand (seconds)."""

    model: str
    demand_seconds: float
    idle_seconds: float


@dataclass(frozen=True)
class QuotaNow:
    """What is taken of a limit."""

    name: str
    capacity: float
    taken: float


@dataclass(frozen=True)
class Now:
    """How the system stands."""

    at: datetime
    workers: int
    live_leases: int
    expired_leases: int
    open_approvals: int
    budget_waits: int
    at_risk: int
    overdue: int
    database_bytes: int


@dataclass(frozen=True)
class Figures:
    """All that is measured.

    Attributes:
        attempts: Counts by (agent or None, outcome).
        waits: By kind of group and name: ("all", ""), ("queue", NAME), ("model", NAME), ("agent", NAME).
        durations: The same.
        call_durations: By model.
        answers: Counts by (model, path).
        leases: Live ones by agent.
    """

    now: Now
    tasks: tuple[Tasks, ...] = ()
    attempts: Mapping[tuple[str | None, str], int] = field(default_factory=dict)
    waits: Mapping[tuple[str, str], Spread] = field(default_factory=dict)
    durations: Mapping[tuple[str, str], Spread] = field(default_factory=dict)
    calls: tuple[Calls, ...] = ()
    call_durations: Mapping[str, Spread] = field(default_factory=dict)
    answers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    queues: tuple[QueueNow, ...] = ()
    demands: tuple[Demand, ...] = ()
    leases: Mapping[str, int] = field(default_factory=dict)
    quotas: tuple[QuotaNow, ...] = ()
