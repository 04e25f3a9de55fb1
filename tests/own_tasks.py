"""Celery tasks as a user of the system writes them: nothing of ours is imported."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import shared_task


class Wobble(Exception):
    """Passes when it is tried again."""


@shared_task(name="own.join_words")
def join_words(first: str, second: str, *, between: str = " ") -> str:
    return f"{first}{between}{second}"


@shared_task(name="own.third_time", bind=True, autoretry_for=(Wobble,), default_retry_delay=0.1)
def third_time(self: Any) -> int:
    if self.request.retries < 2:
        raise Wobble(str(self.request.retries))
    return int(self.request.retries)


@shared_task(name="own.never", bind=True, max_retries=1)
def never(self: Any) -> None:
    raise self.retry(exc=Wobble("still wobbling"), countdown=0.1)


@shared_task(name="own.kill")
def kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="own.no_json")
def no_json() -> object:
    return object()


@shared_task(name="own.pause")
def pause(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@shared_task(name="own.hoard")
def hoard(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20))


@shared_task(name="own.pair")
def pair(first: Any, second: Any) -> tuple[Any, Any]:
    return first, second


@shared_task(name="own.tries", bind=True)
def tries(self: Any) -> int:
    return int(self.request.retries)
