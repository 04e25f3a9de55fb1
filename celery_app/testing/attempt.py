"""`Attempt`: a case while it is done, once: what its steps have set going, and what it took so far.

Invariant: whatever happens, what is measured can be told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from celery_app.celery import database
from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.store.journal import JournalStore
from celery_app.testing.expected import TestCheck
from celery_app.testing.faults import Faults
from celery_app.testing.order import About
from celery_app.testing.results import Judgement, TestError
from celery_app.testing.suite import TestCase, TestStep

__all__ = ["Attempt", "Work"]

_MILLION = 1_000_000


@dataclass
class Work:
    """What a step set going, and what is known of it."""

    step: TestStep
    number: int
    begun: float = field(default_factory=time.monotonic)
    handle: TaskHandle | None = None
    started: list[TaskHandle] = field(default_factory=list)
    #: The task of a graph whose result is meant.
    inner: str | None = None
    state: str | None = None
    output: Any = None
    error: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.step.id or f"step {self.number + 1}"

    @property
    def because(self) -> str:
        """Why it did not succeed, as the end of a sentence."""
        return f": {self.error}" if self.error else ""


class Attempt:
    """A case while it is done.

    Args:
        case: The case.
        client: Whoever hands its work in.
        about: Where it runs.
        faults: What can go wrong.

    Attributes:
        works: What its steps have done so far.
        ahead: How far its clock has been moved on.
        begun_at: When it began.
    """

    def __init__(self, case: TestCase, client: Client, about: About, faults: Faults) -> None:
        self.case = case
        self.client = client
        self.about = about
        self.faults = faults
        self.works: list[Work] = []
        self.errors: list[TestError] = []
        self.judgements: list[Judgement] = []
        self.ahead = timedelta()
        self.journal = JournalStore(database)
        self.begun_at = datetime.now(UTC)
        self._begun = time.monotonic()
        self._used = self.journal.used()

    def now(self) -> datetime:
        """Return what time it is in the case."""
        return datetime.now(UTC) + self.ahead

    def work(self, of: str | None) -> Work:
        """Return what a step did; by default the last that did any work. Raises `TestError`."""
        wanted = [each for each in self.works if of is None or each.step.id == of]
        if of is None:
            wanted = [each for each in wanted if each.state is not None or each.handle] or wanted
        if not wanted:
            raise TestError("no step before it has done any work")
        return wanted[-1]

    def expects(self, step: TestStep) -> bool:
        """Whether a check says how a step must end, so that its failure is none of the case."""

        def means(check: TestCheck) -> bool:
            of_last = check.of is None and step is self.case.steps[-1]
            return check.kind == "state" and (
                of_last or (check.of is not None and check.of == step.id)
            )

        return any(means(check) for check in self.case.checks)

    def metrics(self) -> dict[str, float]:
        """Return what it took."""
        used = self.journal.used()
        calls, prompt, generated = (now - then for now, then in zip(used, self._used, strict=True))
        return {
            "seconds": round(time.monotonic() - self._begun, 3),
            "model_calls": calls,
            "prompt_tokens": prompt,
            "generated_tokens": generated,
            "cost": self.cost(prompt, generated),
            "steps": len(self.works),
        }

    def cost(self, prompt: int, generated: int) -> float:
        """Return what tokens cost."""
        prices = self.about.prices
        total = prompt * prices.get("prompt", 0) + generated * prices.get("generated", 0)
        return round(total / _MILLION, 9)
