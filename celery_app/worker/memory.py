"""Ceilings on memory. A child of a prefork worker runs one task, so the ceiling is that task's own;
threads share their process, so there the ceiling is on all of them together.

Invariant: who reaches a ceiling gets a MemoryError in that moment; no other process is touched. Where
the system knows no such limit (macOS), there is no ceiling.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from celery import bootsteps, signals

from celery_app.celery import app, settings
from celery_app.errors import TaskFailed
from celery_app.sizes import format_size
from celery_app.store.records import Claim
from workflows.storable import bytes_of

__all__ = ["ceiling_for"]

_alone = False


@signals.worker_process_init.connect
def _on_child_start(**_: Any) -> None:
    global _alone
    _alone = True


@contextmanager
def ceiling_for(claim: Claim) -> Iterator[None]:
    """Let a task take no more memory than it said, or than `resources` allows each.

    Raises:
        TaskFailed: It needed more.
    """
    asked = (claim.spec.get("resource_requirements") or {}).get("memory")
    most = bytes_of(asked) if asked else settings.resources.memory.limit_per_agent
    before = _limit_data(most) if _alone else None
    try:
        yield
    except MemoryError as error:
        raise TaskFailed(_too_much(most)) from error
    finally:
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def _too_much(most: int) -> str:
    if _alone:
        return (
            f"it needed more than {format_size(most)} of memory: "
            "ask for more in resource_requirements, or do it in parts"
        )
    total = format_size(settings.resources.memory.total_limit)
    return (
        f"its worker had no more memory to give (resources.memory.total_limit is {total}): "
        "run fewer tasks at once, or such tasks in a prefork worker"
    )


def _limit_data(growth: int) -> tuple[int, int] | None:
    """Let this process's data grow by so many bytes at most; return the limits before."""
    present = getattr(psutil.Process().memory_info(), "data", None)
    if present is None:
        return None
    soft, hard = before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = [present + growth, *(one for one in (soft, hard) if one != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(wanted), hard))
    return before


class MemoryStep(bootsteps.StartStopStep):
    """Worker bootstep: the ceiling on a process whose tasks run in it."""

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def start(self, worker: Any) -> None:
        """Set the ceiling, unless tasks run in children."""
        if "prefork" not in worker.pool_cls.__module__:
            _limit_data(settings.resources.memory.total_limit)


app.steps["worker"].add(MemoryStep)
