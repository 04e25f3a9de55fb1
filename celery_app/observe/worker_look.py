"""`WorkerLook`: who is at work, on which queues, with which model servers.

Invariant: a look takes no longer than its seconds, however many workers there are, and nobody who asks right
after somebody else causes another one: each is a call to all workers.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from celery_app.celery import app, queue
from celery_app.security.guard import Guard

__all__ = ["Standing", "WorkerLook"]

#: Seconds for which a look is good.
_GOOD = 3.0


@dataclass(frozen=True)
class Standing:
    """A worker that answers.

    Attributes:
        name: As Celery calls it.
        queues: What it serves, in the order of their names.
        held: Those of them that it does not serve just now, since no model server answers.
        uptime: Seconds since it began.
        pool: How it does several things at once, and how many.
        models: What it knows of model servers: `gate`, `hosts`, `needs`, `findings`, ...
    """

    name: str
    queues: list[str]
    held: list[str]
    uptime: float
    pool: tuple[str, int | None]
    models: dict[str, Any]


@dataclass
class _Seen:
    at: float = float("-inf")
    workers: list[Standing] = field(default_factory=list)


_seen = _Seen()
_lock = threading.Lock()


class WorkerLook:
    """Looks at the workers.

    Args:
        permissions: Says whether whoever asks may.
    """

    def __init__(self, permissions: Guard) -> None:
        self._permissions = permissions

    def workers(self, seconds: float = 1.0) -> list[Standing]:
        """Return those that answer within so many seconds, or did so just now.

        Raises:
            PermissionDenied: Whoever asks may not know.
            ServiceUnavailable: The broker does not answer.
        """
        self._permissions.require("system.read", "system:status")
        with _lock:
            if time.monotonic() > _seen.at + _GOOD:
                _seen.workers = _look(seconds)
                _seen.at = time.monotonic()
            return _seen.workers


def _look(seconds: float) -> list[Standing]:
    queue.ensure_reachable()
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(_answers, verb, seconds) for verb in ("stats", "active_queues")]
        stats, queues = (each.result() for each in asked)
    return [_standing(name, stats[name], queues.get(name) or []) for name in sorted(stats)]


def _answers(verb: str, seconds: float) -> dict[str, Any]:
    replies = app.control.broadcast(verb, reply=True, timeout=seconds) or []
    return {name: answer for reply in replies for name, answer in reply.items()}


def _standing(name: str, stats: dict[str, Any], queues: list[dict[str, Any]]) -> Standing:
    models = dict(stats.get("models") or {})
    held = [str(each) for each in models.get("held_queues", ())]
    pool = stats.get("pool") or {}
    kind = str(pool.get("implementation", "")).rpartition(":")[2] or "pool"
    return Standing(
        name,
        sorted({str(each["name"]) for each in queues} | set(held)),
        held,
        float(stats.get("uptime", 0)),
        (kind, pool.get("max-concurrency")),
        models,
    )
