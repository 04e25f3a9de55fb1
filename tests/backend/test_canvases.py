"""Chains, groups and chords as Celery documents them, counted by Postgres."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group, states
from celery.app.task import Context
from celery.exceptions import ChordError, TaskRevokedError

from celery_app.postgres.backend import PostgresBackend
from celery_app.postgres.connection import Database
from tests.backend.conftest import task


def test_chords_chains_and_their_nesting(own: Celery) -> None:
    add, total = task(own, "add"), task(own, "total")
    assert chord([add.s(n, 1) for n in range(10)], total.s()).apply_async().get(timeout=20) == 55
    nested = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s(), add.s(10))
    assert nested.apply_async().get(timeout=20) == 17
    inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
    assert chord([inner, add.s(4, 4)], total.s()).apply_async().get(timeout=20) == 14
    chained = chord([chain(add.s(1, 1), add.s(1)), add.s(1, 1)], total.s())
    assert chained.apply_async().get(timeout=20) == 5
    body = chord([add.s(1), add.s(2)], chain(total.s(), group(add.s(1), add.s(2))))
    assert body.apply_async().get(timeout=20) == [4, 5]


def test_results_keep_the_nesting_of_their_groups(own: Celery) -> None:
    add, same = task(own, "add"), task(own, "same")
    inner = chain(add.s(1), group(add.s(10), add.s(20)))
    canvas = chord([inner, add.s(5)], same.s())
    assert canvas.apply_async().get(timeout=20) == [[11, 21], 5]


def test_results_keep_the_order_of_their_parts(own: Celery) -> None:
    pauses = [0.3, 0.0, 0.2, 0.1]
    canvas = chord([task(own, "wait").s(pause) for pause in pauses], task(own, "same").s())
    assert canvas.apply_async().get(timeout=20) == pauses


def test_a_header_may_be_a_generator(own: Celery) -> None:
    parts = (task(own, "add").s(n) for n in range(20))
    assert chord(parts, task(own, "total").s()).apply_async().get(timeout=20) == 190


def test_an_empty_header_still_calls_the_body(own: Celery) -> None:
    assert chord([], task(own, "total").s()).apply_async().get(timeout=20) == 0


def test_an_immutable_body_gets_no_results(own: Celery) -> None:
    canvas = chord([task(own, "add").s(1)], task(own, "constant").si())
    assert canvas.apply_async().get(timeout=20) == "constant"


def test_parts_that_ignore_their_result_still_count(own: Celery) -> None:
    silent, total = task(own, "silent"), task(own, "total")
    assert chord([silent.s(n) for n in range(5)], total.s()).apply_async().get(timeout=20) == 10


def test_parts_that_are_retried_count_once(own: Celery) -> None:
    parts = [task(own, "stubborn").s(2), task(own, "stubborn").s(1)]
    assert chord(parts, task(own, "total").s()).apply_async().get(timeout=20) == 3


def test_a_replaced_task_answers_under_its_own_id(own: Celery) -> None:
    swap, total = task(own, "swap"), task(own, "total")
    assert swap.delay(1).get(timeout=20) == 5
    assert chord([swap.s(1), swap.s(2)], total.s()).apply_async().get(timeout=20) == 12


def test_a_failed_part_fails_the_body_and_what_is_around_it(own: Celery) -> None:
    add, fail, total = task(own, "add"), task(own, "fail"), task(own, "total")
    inner = chord([add.s(1, 1), fail.s(words="bad part")], total.s())
    with pytest.raises(ChordError, match="bad part"):
        chord([inner, add.s(1, 1)], total.s()).apply_async().get(timeout=20)


def test_a_failed_chord_calls_its_errback(own: Celery, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    body = task(own, "total").s().on_error(task(own, "errback").s(note=str(heard)))
    chord([task(own, "fail").s()] * 2, body).apply_async().get(timeout=20, propagate=False)
    deadline = time.monotonic() + 10
    while not heard.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert heard.read_text() == "ChordError\n"


def test_a_revoked_part_fails_the_body(own: Celery) -> None:
    parts = [task(own, "add").s(1), task(own, "add").s(2).set(expires=-1)]
    body = chord(parts, task(own, "total").s()).apply_async()
    error = body.get(timeout=20, propagate=False, disable_sync_subtasks=False)
    assert isinstance(error, ChordError)
    assert "TaskRevokedError" in str(error)


def test_a_failure_reaches_the_members_of_a_group_at_the_chains_end(own: Celery) -> None:
    canvas = chain(task(own, "fail").s(), group(task(own, "add").s(1), task(own, "add").s(2)))
    members = canvas.apply_async().results
    assert len(members) == 2
    for member in members:
        with pytest.raises(ValueError, match="oh dear"):
            member.get(timeout=10)


def test_a_rejected_part_fails_the_body(own: Celery) -> None:
    parts = [task(own, "add").s(1), task(own, "reject").s()]
    error = chord(parts, task(own, "total").s()).apply_async().get(timeout=20, propagate=False)
    assert isinstance(error, ChordError)
    assert "not mine" in str(error)


def part_request(chord_id: str, number: int) -> Context:
    """Return the request of a part, as a worker hands it to the backend."""
    return Context(
        id=f"{chord_id}-{number}",
        group=chord_id,
        group_index=number,
        chord={"task": "foreign.total"},
    )


def begin(own: Celery, size: int) -> tuple[str, Any]:
    """Begin a chord whose parts the test plays; return its id and its body's result."""
    backend: PostgresBackend = own.backend
    chord_id, body = uuid4().hex, task(own, "total").s()
    answer = body.freeze()
    backend.apply_chord((chord_id, [own.AsyncResult(f"{chord_id}-{n}") for n in range(size)]), body)
    backend.set_chord_size(chord_id, size)
    return chord_id, answer


def test_a_part_counts_once_however_often_it_is_delivered(own: Celery, database: Database) -> None:
    backend: PostgresBackend = own.backend
    chord_id, answer = begin(own, 3)
    for number in (0, 0, 1, 0, 1, 1):
        backend.mark_as_done(f"{chord_id}-{number}", number, part_request(chord_id, number))
    row = database.row("SELECT done, state FROM chord WHERE id = :id", id=chord_id)
    assert (row.done, row.state) == (2, "open")
    backend.mark_as_done(f"{chord_id}-2", 2, part_request(chord_id, 2))
    assert answer.get(timeout=10) == 3
    begun = database.row("SELECT meta FROM result WHERE task_id = :id", id=answer.id)
    backend.mark_as_done(f"{chord_id}-2", 2, part_request(chord_id, 2))
    row = database.row("SELECT done, state FROM chord WHERE id = :id", id=chord_id)
    assert (row.done, row.state) == (3, "done")
    again = database.row("SELECT meta FROM result WHERE task_id = :id", id=answer.id)
    assert bytes(again.meta) == bytes(begun.meta)


def test_parts_that_end_at_the_same_instant_call_the_body_once(
    own: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: PostgresBackend = own.backend
    sent: list[str] = []
    end = backend.chords._end

    def counted(ready: Any) -> Any:
        sent.append(ready.id)
        return end(ready)

    monkeypatch.setattr(backend.chords, "_end", counted)
    answers = []
    for _ in range(20):
        chord_id, answer = begin(own, 8)
        answers.append(answer)
        together = threading.Barrier(8)

        def finish(number: int, chord_id: str = chord_id, together: Any = together) -> None:
            together.wait()
            backend.mark_as_done(f"{chord_id}-{number}", number, part_request(chord_id, number))

        threads = [threading.Thread(target=finish, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answer.get(timeout=20) for answer in answers] == [28] * 20
    assert len(sent) == len(set(sent)) == 20


def test_the_size_may_come_after_the_last_part(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    chord_id, body = uuid4().hex, task(own, "total").s()
    answer = body.freeze()
    backend.apply_chord((chord_id, [own.AsyncResult(f"{chord_id}-{n}") for n in range(2)]), body)
    for number in range(2):
        backend.mark_as_done(f"{chord_id}-{number}", number, part_request(chord_id, number))
    assert answer.state == states.PENDING
    backend.set_chord_size(chord_id, 2)
    assert answer.get(timeout=10) == 1


def test_a_task_may_add_itself_to_a_chord(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    chord_id, answer = begin(own, 1)
    backend.add_to_chord(chord_id, own.AsyncResult(f"{chord_id}-1"))
    backend.mark_as_done(f"{chord_id}-0", 1, part_request(chord_id, 0))
    assert answer.state == states.PENDING
    backend.mark_as_done(f"{chord_id}-1", 2, part_request(chord_id, 1))
    assert answer.get(timeout=10) == 3


def test_a_chord_of_thousands_is_counted_in_steady_steps(own: Celery) -> None:
    """Each part costs the same: the last thousand of 4,000 takes no longer than the first but noise."""
    backend: PostgresBackend = own.backend
    chord_id, answer = begin(own, 4000)
    thousands = []
    for start in range(0, 4000, 1000):
        begun = time.perf_counter()
        for number in range(start, start + 1000):
            backend.mark_as_done(f"{chord_id}-{number}", 1, part_request(chord_id, number))
        thousands.append(time.perf_counter() - begun)
    assert answer.get(timeout=30) == 4000
    assert min(thousands[1:]) < 3 * thousands[0]


def test_a_revoked_task_error_survives_the_join(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    chord_id, answer = begin(own, 1)
    request = part_request(chord_id, 0)
    backend.mark_as_revoked(request.id, "terminated", request=request)
    with pytest.raises(ChordError) as caught:
        answer.get(timeout=10)
    assert "TaskRevokedError" in str(caught.value)
    assert isinstance(own.AsyncResult(request.id).result, TaskRevokedError)
