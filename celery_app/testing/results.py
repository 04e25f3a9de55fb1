"""`TestResults`: what came of a suite.

Invariant: a case that did not pass says where and why, for everything in it that did not hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from workflows.errors import AgentSystemError
from workflows.problem import Problem

__all__ = [
    "InvalidSuite",
    "Judgement",
    "TestError",
    "TestResult",
    "TestResults",
    "TestStatus",
    "wilson",
]

#: Of the standard normal distribution, for an interval that holds the truth 95 times in 100.
_Z = 1.959964


class InvalidSuite(AgentSystemError, ValueError):
    """A suite cannot be accepted as written; `problems` are all that is wrong with it."""

    exit_code = 2

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class TestError(AgentSystemError):
    """A step went wrong, or a check does not hold.

    Args:
        reason: What is wrong.
        part: The part of the case: `("steps", 1)`.
        place: Where it was written; known to whoever has the suite.
    """

    __test__ = False

    def __init__(self, reason: str, part: tuple[str | int, ...] = (), place: str = "") -> None:
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason = reason
        self.part = part
        self.place = place


class TestStatus(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


TestStatus.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Judgement:
    """What a model thinks of an output."""

    rubric: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class TestResult:
    """What came of one case.

    Args:
        status: Passed, failed, or skipped because the suite had ended.
        case: Its name.
        errors: Everything that did not hold.
        metrics: Seconds, tokens, calls of models and cost, on pass and on fail.
        critical: Whether the suite cannot go on when it failed.
        repeats: How often it was done.
        passes: How often it passed.
        judgements: What models think of its outputs; they decide nothing.
    """

    __test__ = False

    status: TestStatus
    case: str = ""
    errors: tuple[TestError, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    critical: bool = False
    repeats: int = 1
    passes: int = 0
    judgements: tuple[Judgement, ...] = ()

    @property
    def error(self) -> TestError | None:
        """The first that went wrong."""
        return self.errors[0] if self.errors else None

    @property
    def is_critical_failure(self) -> bool:
        """Whether the suite cannot go on."""
        return self.critical and self.status is TestStatus.FAILED

    def as_json(self) -> dict[str, Any]:
        """Return the public document of the result."""
        low, high = wilson(self.passes, self.repeats)
        return {
            "case": self.case,
            "status": str(self.status),
            "errors": [{"place": each.place, "reason": each.reason} for each in self.errors],
            "metrics": self.metrics,
            "critical": self.critical,
            "repeats": self.repeats,
            "passes": self.passes,
            "interval": [low, high] if self.status is not TestStatus.SKIPPED else None,
            "judgements": [vars(each) for each in self.judgements],
        }


@dataclass
class TestResults:
    """What came of a suite; `stale` are recorded answers that nobody asked for any more."""

    __test__ = False

    suite: str = ""
    results: list[TestResult] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def add_result(self, result: TestResult) -> None:
        """Take in what came of a case."""
        self.results.append(result)

    @property
    def passed(self) -> bool:
        """Whether every case passed."""
        return bool(self.results) and all(
            result.status is TestStatus.PASSED for result in self.results
        )

    def of(self, status: TestStatus) -> list[TestResult]:
        """Return the results with a status."""
        return [result for result in self.results if result.status is status]

    def in_order(self, names: list[str]) -> Self:
        """Put the results in the order of the cases; return them."""
        self.results.sort(key=lambda result: names.index(result.case))
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the public document of the results."""
        counts = {str(status): len(self.of(status)) for status in TestStatus}
        results = [result.as_json() for result in self.results]
        return {"suite": self.suite, **counts, "results": results, "stale": self.stale}


def wilson(passes: int, repeats: int) -> tuple[float, float]:
    """Return between which rates the true one lies with 95 % confidence (Wilson's score interval)."""
    if repeats == 0:
        return 0.0, 1.0
    rate, share = passes / repeats, _Z**2 / repeats
    middle = (rate + share / 2) / (1 + share)
    half = _Z / (1 + share) * math.sqrt(rate * (1 - rate) / repeats + share / (4 * repeats))
    return max(0.0, round(middle - half, 4)), min(1.0, round(middle + half, 4))
