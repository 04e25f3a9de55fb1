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


@shared_task(name="own.note")
def note(file: str, line: str) -> None:
    with open(file, "a") as notes:
        notes.write(f"{line}\n")


@shared_task(name="own.count")
def count(file: str, word: str) -> str:
    with open(os.path.join(os.path.dirname(file), "counted"), "a") as counted:
        counted.write(f"{word}\n")
    return word


@shared_task(name="own.needs_file")
def needs_file(file: str, word: str) -> str:
    count(file, word)
    if word == "b" and not os.path.exists(file):
        raise FileNotFoundError(f"no {file}")
    return word


@shared_task(name="own.third_line")
def third_line(file: str) -> None:
    with open(os.path.join(os.path.dirname(file), "counted")) as counted:
        if len(counted.readlines()) < 3:
            raise Wobble("too few")


def _die_at_the_appointed_call() -> None:
    """Kill this worker at the call that MORTAL_AT names: DIRECTORY:NUMBER, counted over all workers."""
    folder, _, number = os.environ.get("MORTAL_AT", "").rpartition(":")
    if not folder:
        return
    for call in range(1, int(number) + 1):
        try:
            os.close(os.open(os.path.join(folder, str(call)), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        if call == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return


@shared_task(name="own.echo")
def mortal_echo(value: Any) -> Any:
    _die_at_the_appointed_call()
    return value


@shared_task(name="own.fail")
def mortal_fail(message: str) -> None:
    _die_at_the_appointed_call()
    raise Wobble(message)


@shared_task(name="own.undo")
def mortal_undo(file: str, line: str) -> None:
    _die_at_the_appointed_call()
    note(file, line)


@shared_task(name="own.pair")
def pair(first: Any, second: Any) -> tuple[Any, Any]:
    return first, second


@shared_task(name="own.tries", bind=True)
def tries(self: Any) -> int:
    return int(self.request.retries)


@shared_task(name="own.send")
def send(first: str, second: str) -> None:
    join_words.delay(first, second)


@shared_task(name="own.traceparents", bind=True)
def traceparents(self: Any) -> list[str]:
    """Where a user's instrumentation finds the trace: in the message, and around the task."""
    from opentelemetry import trace

    here = trace.get_current_span().get_span_context()
    told = f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"
    return [str(self.request.get("traceparent")), told]
