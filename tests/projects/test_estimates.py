"""Estimates begin with what is said, and come to be what is measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.estimates import Estimator, Sample
from workflows.plan import UNMEASURED, CallEstimate

SAID = {"writer": CallEstimate(prompt=100, generated=50, seconds=8.0)}
MODELS = {"writer": "small"}


def samples(count: int, seconds: float, size: int = 100, model: str = "small") -> list[Sample]:
    return [Sample("writer", model, size, seconds)] * count


def estimate(*measured: Sample, size: int = 100) -> float:
    return Estimator(measured, SAID, MODELS).estimate("writer", size).seconds


def test_without_measurements_it_is_what_is_said() -> None:
    assert estimate() == 8
    assert Estimator().estimate("writer").seconds == UNMEASURED.seconds
    assert Estimator(said=SAID).estimate("writer", seconds=60).seconds == 60


def test_what_is_said_counts_as_much_as_four_measurements() -> None:
    assert estimate(*samples(4, 2)) == pytest.approx(math.sqrt(8 * 2))


def test_with_many_it_is_what_is_measured() -> None:
    found = Estimator(samples(1000, 2), SAID, MODELS).estimate("writer", 100)
    assert found.seconds == pytest.approx(2, rel=0.02)
    assert found.spread < 0.1


def test_the_nearest_measurements_count() -> None:
    near = samples(1000, 2, size=100)
    larger = samples(1000, 30, size=10_000)
    other = samples(1000, 500, model="large")
    assert estimate(*near, *larger, *other) == pytest.approx(2, rel=0.02)
    assert estimate(*near, *larger, *other, size=10_000) == pytest.approx(30, rel=0.02)
    both = estimate(*near, *larger, *other, size=1_000_000)
    assert both == pytest.approx(math.sqrt(2 * 30), rel=0.02), "of the model, whatever the size"
    assert estimate(*other) == pytest.approx(500, rel=0.02), "of the agent, whatever the model"


@given(st.lists(st.floats(0.01, 1000), max_size=30), st.floats(0.01, 1000))
def test_it_lies_between_what_is_said_and_what_is_measured(
    measured: list[float], said: float
) -> None:
    known = Estimator([Sample("writer", "small", 1, seconds) for seconds in measured])
    found = known.estimate("writer", 1, said)
    assert min([said, *measured]) * 0.999 <= found.seconds <= max([said, *measured]) * 1.001
    assert found.spread >= 0
