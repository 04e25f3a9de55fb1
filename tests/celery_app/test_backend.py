"""The result backend as any Celery project uses it: ordinary tasks, groups, chains and chords."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker
from celery.exceptions import ChordError

from celery_app.client import Client
from celery_app.postgres.backend import PostgresBackend


@pytest.fixture(scope="module")
def own(client: Client) -> Iterator[Celery]:
    """A foreign Celery project that uses the backend and nothing else of ours."""
    from celery_app.celery import settings

    project = Celery(
        "foreign",
        broker=settings.broker_url,
        backend=f"agentpg+{settings.database_url}",
        set_as_current=False,
    )
    project.conf.update(
        task_default_queue=f"foreign-{uuid4().hex[:8]}",
        broker_transport_options={"global_keyprefix": "foreign:"},
        result_extended=True,
        broker_connection_retry_on_startup=True,
    )

    @project.task(name="foreign.add")
    def add(*numbers: float) -> float:
        return sum(numbers)

    @project.task(name="foreign.total")
    def total(numbers: list[float]) -> float:
        return sum(numbers)

    @project.task(name="foreign.wait")
    def wait(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @project.task(name="foreign.fail")
    def fail(words: str) -> None:
        raise ValueError(words)

    @project.task(name="foreign.silent", ignore_result=True)
    def silent(number: int) -> int:
        return number

    @project.task(name="foreign.swap", bind=True)
    def swap(self: Any, number: int) -> None:
        raise self.replace(chord([add.s(number, 1), add.s(number, 2)], total.s()))

    with start_worker(
        project, pool="threads", concurrency=4, perform_ping_check=False, shutdown_timeout=30
    ):
        yield project
    project.backend.result_consumer.stop()
    project.close()


def task(own: Celery, name: str) -> Any:
    return own.tasks[f"foreign.{name}"]


def test_a_result_comes_by_push(own: Celery) -> None:
    waiting = task(own, "wait").delay(0.3)
    begun = time.monotonic()
    assert waiting.get(timeout=10) == 0.3
    assert time.monotonic() - begun < 1.0
    assert waiting.state == "SUCCESS"


def test_an_error_arrives_as_itself(own: Celery) -> None:
    failed = task(own, "fail").delay("oh dear")
    with pytest.raises(ValueError, match="oh dear"):
        failed.get(timeout=10)
    assert failed.state == "FAILURE"
    assert "ValueError" in failed.traceback


def test_extended_metadata_is_kept(own: Celery) -> None:
    done = task(own, "add").delay(1, 2)
    done.get(timeout=10)
    again = own.AsyncResult(done.id)
    assert again.name == "foreign.add"
    assert again.args == [1, 2]


def test_a_group_is_waited_for_saved_and_restored(own: Celery) -> None:
    result = group(task(own, "add").s(n, n) for n in range(50)).apply_async()
    assert result.get(timeout=20) == [2 * n for n in range(50)]
    result.save()
    assert own.GroupResult.restore(result.id).get(timeout=5) == result.get()
    result.delete()
    assert own.GroupResult.restore(result.id) is None


def test_chords_chains_and_their_nesting(own: Celery) -> None:
    add, total = task(own, "add"), task(own, "total")
    assert chord([add.s(n, 1) for n in range(10)], total.s()).apply_async().get(timeout=20) == 55
    nested = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s(), add.s(10))
    assert nested.apply_async().get(timeout=20) == 17
    inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
    assert chord([inner, add.s(4, 4)], total.s()).apply_async().get(timeout=20) == 14


def test_parts_that_ignore_their_result_still_count(own: Celery) -> None:
    silent, total = task(own, "silent"), task(own, "total")
    assert chord([silent.s(n) for n in range(5)], total.s()).apply_async().get(timeout=20) == 10


def test_a_replaced_task_answers_under_its_own_id(own: Celery) -> None:
    assert task(own, "swap").delay(1).get(timeout=20) == 5


def test_a_failed_part_fails_the_body_and_what_is_around_it(own: Celery) -> None:
    add, fail, total = task(own, "add"), task(own, "fail"), task(own, "total")
    inner = chord([add.s(1, 1), fail.s("bad part")], total.s())
    with pytest.raises(ChordError, match="bad part"):
        chord([inner, add.s(1, 1)], total.s()).apply_async().get(timeout=20)


def test_forget(own: Celery) -> None:
    done = task(own, "add").delay(1, 1)
    done.get(timeout=10)
    done.forget()
    assert own.AsyncResult(done.id).state == "PENDING"


def test_a_part_may_belong_to_many_open_chords(own: Celery) -> None:
    add, total = task(own, "add"), task(own, "total")
    backend: PostgresBackend = own.backend
    parts = [uuid4().hex for _ in range(3)]
    first = backend.open_chord(total.s(), parts[:2])
    second = backend.open_chord(total.s(), parts[1:])
    for number, part in enumerate(parts):
        add.apply_async((number, 10), task_id=part)
    assert own.AsyncResult(first).get(timeout=10) == 21
    assert own.AsyncResult(second).get(timeout=10) == 23
    late = backend.open_chord(total.s(), parts)
    assert own.AsyncResult(late).get(timeout=10) == 33


def test_one_process_listens_once_however_many_wait(own: Celery) -> None:
    from celery_app.celery import database

    results = [task(own, "wait").delay(0.2) for _ in range(8)]
    answers: list[float] = []
    waiters = [
        threading.Thread(target=lambda r=result: answers.append(r.get(timeout=20)))
        for result in results
    ]
    for waiter in waiters:
        waiter.start()
    listening = database.row(
        "SELECT count(*) AS n FROM pg_stat_activity "
        "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    )
    for waiter in waiters:
        waiter.join()
    assert answers == [0.2] * 8
    assert listening is not None
    # This project's listener, and that of the session's own client if it has waited.
    assert listening.n <= 2


def test_results_survive_the_loss_of_the_listening_connection(own: Celery) -> None:
    from celery_app.celery import database

    waiting = task(own, "wait").delay(1.0)
    killer = threading.Timer(
        0.3,
        lambda: database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        ),
    )
    killer.start()
    assert waiting.get(timeout=10) == 1.0
    killer.join()


def test_a_body_that_was_never_published_is_published_again(own: Celery) -> None:
    from celery_app.celery import database

    add, total = task(own, "add"), task(own, "total")
    parts = [add.delay(1, 1).id, add.delay(2, 2).id]
    for part in parts:
        own.AsyncResult(part).get(timeout=10)
    backend: PostgresBackend = own.backend
    missing = uuid4().hex
    body = backend.open_chord(total.s(), [*parts, missing])
    # As if the worker had died between the commit of the last part and the publishing.
    database.rows(
        "UPDATE chord SET state = 'ready', ready_at = now() - interval '1 hour' WHERE id = :id",
        id=body,
    )
    database.rows(
        "SELECT store_result(:id, 'SUCCESS', (SELECT meta FROM result WHERE task_id = :like), true, NULL, 0)",
        id=missing,
        like=parts[0],
    )
    assert backend.publish_ready_chords(grace=10) == 1
    assert own.AsyncResult(body).get(timeout=10) == 8
