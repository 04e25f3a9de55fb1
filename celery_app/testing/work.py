"""The Celery tasks of tests: a case, and what it asks of a worker."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from celery_app.celery import logs
from celery_app.client import Client
from celery_app.testing.case_run import run_case
from celery_app.testing.order import About
from celery_app.testing.suite import TestCase

__all__ = ["case", "written"]


@shared_task(name="test.case")
def case(given: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """Run a case. Returns what came of it as JSON values."""
    return run_case(TestCase.model_validate(given), Client(), About(**about))


@shared_task(name="test.written")
def written() -> bool:
    """Write what this worker has said so far; return whether all of it is written."""
    return logs.flush()
