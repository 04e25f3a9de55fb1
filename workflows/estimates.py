"""How long work is likely to take: what a plan says, corrected by what was measured.

Invariant: without measurements an estimate is what the plan said; with many it is what was measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Estimate", "Estimator", "Sample"]

#: Of so many measurements the plan's own word counts as much as they do together.
_TRUST = 4
#: How uncertain an estimate is that nothing supports: about nine of ten lie within half and twice it.
_UNMEASURED = 0.45


@dataclass(frozen=True)
class Sample:
    """One piece of work that was done: who did it, on how much text (characters), in which time."""

    agent: str
    model: str
    size: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What something is expected to take; `spread` is the deviation of the logarithm of its seconds."""

    seconds: float
    spread: float = _UNMEASURED


class Estimator:
    """Corrects estimates by measurements.

    The nearest measurements count: those of the same agent, model and size (to a factor of four), or
    else of the same agent and model, or of the same agent.

    Args:
        samples: What was measured.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._logs: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for sample in samples:
            measured = math.log(max(sample.seconds, 1e-3))
            for key in _keys(sample.agent, sample.model, sample.size):
                self._logs[key].append(measured)

    def estimate(self, seconds: float, agent: str, model: str = "", size: int = 0) -> Estimate:
        """Return what work of an agent is likely to take, where the plan says `seconds`."""
        logs = next(
            (found for key in _keys(agent, model, size) if (found := self._logs.get(key))), []
        )
        said = math.log(max(seconds, 1e-3))
        weight = len(logs) + _TRUST
        middle = (sum(logs) + _TRUST * said) / weight
        squares = sum((each - middle) ** 2 for each in logs) + _TRUST * _UNMEASURED**2
        return (
            Estimate(math.exp(middle), math.sqrt(squares / weight)) if logs else Estimate(seconds)
        )


def _keys(agent: str, model: str, size: int) -> list[tuple[object, ...]]:
    bucket = max(size, 1).bit_length() // 2
    return [(agent, model, bucket), (agent, model), (agent,)]
