"""One case, done once or several times: its steps, then its checks.

Invariant: whatever happens, what is measured is told; and everything that does not hold is told, not
only the first of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery_app.client import Client
from celery_app.errors import AgentSystemError
from celery_app.testing.attempt import Attempt
from celery_app.testing.checks import look
from celery_app.testing.faults import Faults
from celery_app.testing.order import About
from celery_app.testing.results import TestError
from celery_app.testing.steps import perform
from celery_app.testing.suite import TestCase

__all__ = ["run_case"]


def run_case(case: TestCase, client: Client, about: About) -> dict[str, Any]:
    """Do a case as often as it says; return what came of it as JSON values."""
    faults = Faults(Path(os.environ["AI_AGENT_HOME"]), about.model_url if about.stand_in else None)
    if about.apart:
        faults.start_worker()
    attempts = []
    for _ in range(case.repeat):
        attempt = Attempt(case, client, about, faults)
        _do(attempt)
        attempts.append((attempt, attempt.metrics()))
    failed = [attempt for attempt, _ in attempts if attempt.errors]
    total = {key: round(sum(taken[key] for _, taken in attempts), 9) for key in attempts[0][1]}
    return {
        "passes": case.repeat - len(failed),
        "metrics": total,
        "errors": [
            {"reason": error.reason, "part": error.part}
            for attempt in failed[-1:]
            for error in attempt.errors
        ],
        "judgements": [vars(each) for attempt, _ in attempts for each in attempt.judgements],
    }


def _do(attempt: Attempt) -> None:
    """Do the steps up to one that goes wrong, and if none does, look at all checks."""
    for number, step in enumerate(attempt.case.steps):
        with _noted(attempt, ("steps", number)):
            perform(attempt, step, number)
        if attempt.errors:
            return
    for number, check in enumerate(attempt.case.checks):
        with _noted(attempt, ("checks", number)):
            look(attempt, check)


@contextmanager
def _noted(attempt: Attempt, part: tuple[str | int, ...]) -> Iterator[None]:
    """Note what goes wrong in a part of the case."""
    try:
        yield
    except TestError as error:
        attempt.errors.append(TestError(error.reason, part))
    except (AgentSystemError, AssertionError) as error:
        attempt.errors.append(TestError(str(error), part))
    except Exception as error:  # noqa: BLE001, RUF100 - it must not hide what else is known
        attempt.errors.append(TestError(f"{type(error).__name__}: {error}", part))
