"""A Celery project that uses the result backend and nothing else of this system."""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import Any

from celery import Celery, chord, group
from celery.exceptions import Reject

from celery_app.postgres.bootstep import ResultBackendStep


class Opaque(Exception):
    """An error that no serializer takes, and that cannot be made again from its arguments."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__("opaque")
        self.lock = threading.Lock()
        self.pair = (first, second)


def make_project(broker: str, backend: str, queue: str, **options: Any) -> Celery:
    """Return the project's app with all its tasks."""
    project = Celery("foreign", broker=broker, backend=backend, set_as_current=False)
    project.conf.update(
        task_default_queue=queue,
        broker_transport_options={"global_keyprefix": "foreign:"},
        result_extended=True,
        broker_connection_retry_on_startup=True,
        task_send_sent_event=False,
        **options,
    )
    project.steps["worker"].add(ResultBackendStep)
    _add_arithmetic(project)
    _add_helpers(project)
    _add_misfits(project)
    return project


def _add_arithmetic(project: Celery) -> None:
    # Not shared: every project has tasks of its own.
    task = functools.partial(project.task, shared=False)

    @task(name="foreign.add")
    def add(*numbers: float) -> float:
        return sum(numbers)

    @task(name="foreign.total")
    def total(numbers: list[float]) -> float:
        return sum(numbers)

    @task(name="foreign.same")
    def same(value: Any) -> Any:
        return value

    @task(name="foreign.constant")
    def constant() -> str:
        return "constant"

    @task(name="foreign.wait")
    def wait(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @task(name="foreign.silent", ignore_result=True)
    def silent(number: int) -> int:
        return number

    @task(name="foreign.swap", bind=True)
    def swap(self: Any, number: int) -> None:
        raise self.replace(chord([add.s(number, 1), add.s(number, 2)], total.s()))

    @task(name="foreign.long")
    def long(size: int) -> str:
        return "ü" * size


def _add_helpers(project: Celery) -> None:
    task = functools.partial(project.task, shared=False)
    add = project.tasks["foreign.add"]

    @task(name="foreign.note")
    def note(value: Any, path: str) -> Any:
        with open(path, "a") as written:
            print(value, file=written)
        return value

    @task(name="foreign.gather")
    def gather(count: int) -> tuple[int, list[float]]:
        parts = group(add.s(number, 1) for number in range(count)).apply_async()
        return os.getpid(), parts.get(timeout=20, disable_sync_subtasks=False)


def _add_misfits(project: Celery) -> None:
    task = functools.partial(project.task, shared=False)

    @task(name="foreign.fail")
    def fail(*_: Any, words: str = "oh dear") -> None:
        raise ValueError(words)

    @task(name="foreign.opaque")
    def opaque() -> None:
        raise Opaque(object(), object())

    @task(name="foreign.unstorable")
    def unstorable() -> object:
        return object()

    @task(name="foreign.reject", bind=True)
    def reject(self: Any) -> None:
        raise Reject("not mine", requeue=False)

    @task(name="foreign.steps", bind=True)
    def steps(self: Any, count: int) -> int:
        for number in range(count):
            self.update_state(state="PROGRESS", meta={"step": number})
            time.sleep(0.1)
        return count

    @task(name="foreign.stubborn", bind=True, max_retries=5, default_retry_delay=0)
    def stubborn(self: Any, times: int) -> int:
        if self.request.retries < times:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    @task(name="foreign.errback")
    def errback(request: Any, error: Any, traceback: Any, note: str = "") -> None:
        with open(note, "a") as heard:
            print(type(error).__name__, file=heard)
