"""How long work is likely to take: what a plan says, corrected by what was measured.

Invariant: without measurements an estimate is what the plan said; with many it is what was measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workflows.plan import UNMEASURED, CallEstimate

__all__ = ["Estimate", "Estimator", "Sample"]

#: The plan's own word counts as much as so many measurements.
_TRUST = 4
#: How uncertain an estimate is that nothing supports: about nine of ten lie within half and twice it.
_SPREAD = 0.45


@dataclass(frozen=True)
class Sample:
    """A piece of work that was done: by whom, reading how many tokens, in which time."""

    agent: str
    model: str
    size: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What something is expected to take; `spread` is the deviation of the logarithm of its seconds."""

    seconds: float
    spread: float = _SPREAD


class Estimator:
    """Corrects estimates by measurements.

    The nearest measurements count: those of the same agent, model and size (to a factor of four), or
    else of the same agent and model, or of the same agent.

    Args:
        samples: What was measured.
        said: What a step of each agent is taken to need, until it is measured.
        models: The model that each agent asks now.
    """

    def __init__(
        self,
        samples: Iterable[Sample] = (),
        said: Mapping[str, CallEstimate] | None = None,
        models: Mapping[str, str] | None = None,
    ) -> None:
        self._said = said or {}
        self._models = models or {}
        self._logs: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for sample in samples:
            measured = _log(sample.seconds)
            for key in _keys(sample.agent, sample.model, sample.size):
                self._logs[key].append(measured)

    def estimate(self, agent: str, size: int = 0, seconds: float | None = None) -> Estimate:
        """Return what work of an agent is likely to take.

        Args:
            agent: Who does it.
            size: How many tokens it reads, about.
            seconds: What somebody says who knows; by default what its agent is taken to need.
        """
        said = self._said.get(agent, UNMEASURED).seconds if seconds is None else seconds
        keys = _keys(agent, self._models.get(agent, ""), size)
        logs = next((found for key in keys if (found := self._logs.get(key))), None)
        if logs is None:
            return Estimate(said)
        weight = len(logs) + _TRUST
        middle = (sum(logs) + _TRUST * _log(said)) / weight
        squares = sum((each - middle) ** 2 for each in logs) + _TRUST * _SPREAD**2
        return Estimate(math.exp(middle), math.sqrt(squares / weight))


def _log(seconds: float) -> float:
    return math.log(max(seconds, 1e-3))


def _keys(agent: str, model: str, size: int) -> list[tuple[object, ...]]:
    bucket = max(size, 1).bit_length() // 2
    return [(agent, model, bucket), (agent, model), (agent,)]
