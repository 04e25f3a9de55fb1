"""/healthz and /readyz: whether the process lives, and what is missing for it to be of use.

Invariant: nobody has to say who they are, so nothing is told but what answers and what does not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app import celery
from celery_app.api.route import document
from celery_app.errors import AgentSystemError
from celery_app.postgres.migrate import pending

#: Without these nothing can be handed in; without the others it waits.
_NEEDED = ("postgres", "migrations", "broker")
#: Seconds for which an answer is good: whoever asks more often learns nothing new.
_GOOD = 1.0
_PATIENCE = 2.0


class Readiness:
    """Looks at everything that is needed, at most once a second."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._found: dict[str, str | None] = {}

    async def look(self) -> dict[str, Any]:
        """Return what answers, and for each that does not what to do."""
        async with self._lock:
            if time.monotonic() > self._looked_at + _GOOD:
                self._found = await _look()
                self._looked_at = time.monotonic()
        missing = [name for name, advice in self._found.items() if advice is not None]
        checks = {
            name: {"ok": advice is None, "advice": advice} for name, advice in self._found.items()
        }
        ready = not set(missing) & set(_NEEDED)
        return {"ready": ready, "missing": missing, "checks": checks}


_readiness = Readiness()


async def healthz() -> Response:
    """Say that the process lives."""
    return document({"status": "alive"})


async def readyz() -> Response:
    """Say whether work can be handed in, and what is missing for it to be done."""
    found = await _readiness.look()
    return document(found, 200 if found["ready"] else 503)


async def _look() -> dict[str, str | None]:
    names = ("postgres", "migrations", "broker", "workers")
    looks = (_postgres, _migrations, _broker, _workers)
    found = await asyncio.gather(*(run_in_threadpool(_advice, look) for look in looks), _models())
    return dict(zip((*names, "models"), found, strict=True))


def _advice(look: Callable[[], str | None]) -> str | None:
    try:
        return look()
    except AgentSystemError:
        return "it does not answer: see that it runs and that the settings point to it"


def _postgres() -> None:
    celery.database.impatient().row("SELECT 1")


def _migrations() -> str | None:
    lacking = pending(celery.database.impatient())
    return f"{len(lacking)} are not applied: start the API anew" if lacking else None


def _broker() -> None:
    celery.queue.ensure_reachable()


def _workers() -> str | None:
    celery.queue.ensure_reachable()
    if celery.app.control.ping(timeout=1.0, limit=1):
        return None
    return "none answers: start one with `ai-agent worker`"


async def _models() -> str | None:
    hosts = celery.settings.ollama_hosts
    async with httpx.AsyncClient(timeout=_PATIENCE) as client:
        answers = await asyncio.gather(*(_answers(client, host) for host in hosts))
    silent = answers.count(False)
    return f"{silent} of {len(hosts)} model servers do not answer" if silent else None


async def _answers(client: httpx.AsyncClient, host: str) -> bool:
    try:
        return (await client.get(f"{host}/api/version")).is_success
    except httpx.HTTPError:
        return False
