"""Open chords: parts from anywhere, a size that is not known yet, bodies for success and failure."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, states
from celery.exceptions import ChordError, TaskRevokedError

from celery_app.errors import ConfigurationError
from celery_app.postgres.backend import PostgresBackend
from celery_app.postgres.connection import Database
from tests.backend.conftest import task


def ids(count: int) -> list[str]:
    """Return ids of tasks that nobody has sent."""
    return [uuid4().hex for _ in range(count)]


def succeed(own: Celery, task_id: str, value: Any = 1) -> None:
    """Store a result as a worker would."""
    own.backend.store_result(task_id, value, states.SUCCESS)


def fail(own: Celery, task_id: str, words: str = "bad part") -> None:
    """Store a failure as a worker would."""
    own.backend.mark_as_failure(task_id, ValueError(words))


def test_a_part_may_belong_to_many_chords(own: Celery) -> None:
    add, total = task(own, "add"), task(own, "total")
    backend: PostgresBackend = own.backend
    parts = ids(3)
    first = backend.open_chord(total.s(), parts[:2], size=2)
    second = backend.open_chord(total.s(), parts[1:], size=2)
    for number, part in enumerate(parts):
        add.apply_async((number, 10), task_id=part)
    assert own.AsyncResult(first).get(timeout=10) == 21
    assert own.AsyncResult(second).get(timeout=10) == 23
    late = backend.open_chord(total.s(), parts, size=3)
    assert own.AsyncResult(late).get(timeout=10) == 33


def test_a_chord_without_a_size_grows_until_it_is_closed(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    parts = ids(4)
    body = backend.open_chord(task(own, "same").s(), parts[:1])
    succeed(own, parts[0], "a")
    succeed(own, parts[2], "c")
    backend.extend_chord(body, parts[1:3])
    backend.extend_chord(body, parts[1:4])
    for part, value in zip(parts[1::2], "bd", strict=True):
        succeed(own, part, value)
    assert own.AsyncResult(body).state == states.PENDING
    backend.close_chord(body)
    backend.close_chord(body)
    assert own.AsyncResult(body).get(timeout=10) == ["a", "b", "c", "d"]
    with pytest.raises(ConfigurationError, match="is closed"):
        backend.extend_chord(body, ids(1))


def test_a_known_size_lets_the_parts_come_later(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    add = task(own, "add")
    body = backend.open_chord(task(own, "total").s(), size=2)
    for number in range(2):
        # Any message that names the chord is a part of it.
        add.apply_async(
            (number, 10), group_id=body, group_index=number, chord=task(own, "total").s()
        )
    assert own.AsyncResult(body).get(timeout=10) == 21
    with pytest.raises(ConfigurationError, match="size 1"):
        backend.open_chord(task(own, "total").s(), ids(2), size=1)


def test_opening_twice_changes_nothing(own: Celery, database: Database) -> None:
    backend: PostgresBackend = own.backend
    parts = ids(2)
    body = task(own, "total").s()
    first = backend.open_chord(body, parts, size=2)
    succeed(own, parts[0])
    assert backend.open_chord(body, parts, size=2) == first
    assert database.row("SELECT done FROM chord WHERE id = :id", id=first).done == 1
    succeed(own, parts[1])
    assert own.AsyncResult(first).get(timeout=10) == 2


def test_an_empty_chord_is_complete_when_it_is_closed(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    assert own.AsyncResult(backend.open_chord(task(own, "total").s(), size=0)).get(timeout=10) == 0
    body = backend.open_chord(task(own, "total").s())
    backend.close_chord(body)
    assert own.AsyncResult(body).get(timeout=10) == 0


def test_a_failed_part_fails_a_body_that_needs_success(own: Celery) -> None:
    parts = ids(2)
    body = own.backend.open_chord(task(own, "total").s(), parts, size=2)
    fail(own, parts[0])
    assert own.AsyncResult(body).state == states.PENDING
    succeed(own, parts[1])
    with pytest.raises(ChordError, match="bad part"):
        own.AsyncResult(body).get(timeout=10)


def test_a_forgotten_part_fails_the_body_instead_of_counting_as_nothing(own: Celery) -> None:
    parts = ids(2)
    succeed(own, parts[0])
    body = own.backend.open_chord(task(own, "total").s(), parts, size=2)
    own.AsyncResult(parts[0]).forget()
    succeed(own, parts[1])
    with pytest.raises(ChordError, match="is gone"):
        own.AsyncResult(body).get(timeout=10)


@pytest.mark.parametrize("run_on", ["failure", "always"])
def test_a_body_may_run_on_failure(own: Celery, run_on: Any) -> None:
    parts = ids(2)
    body = own.backend.open_chord(task(own, "same").s(), parts, size=2, run_on=run_on)
    fail(own, parts[0])
    succeed(own, parts[1], "well")
    failed, well = own.AsyncResult(body).get(timeout=10)
    assert failed["exc_type"] == "ValueError"
    assert failed["exc_message"] == ["bad part"]
    assert well == "well"


def test_a_body_for_failures_is_revoked_if_there_is_none(own: Celery) -> None:
    parts = ids(1)
    body = own.backend.open_chord(task(own, "same").s(), parts, size=1, run_on="failure")
    always = own.backend.open_chord(task(own, "same").s(), parts, size=1, run_on="always")
    succeed(own, parts[0], 7)
    with pytest.raises(TaskRevokedError, match="no part of its chord failed"):
        own.AsyncResult(body).get(timeout=10)
    assert own.AsyncResult(always).get(timeout=10) == [7]


def test_a_body_may_be_a_part_itself(own: Celery) -> None:
    """A graph of open chords; a failure follows it to its end."""
    backend: PostgresBackend = own.backend
    (root,) = ids(1)
    bodies = [task(own, "total").s() for _ in range(3)]
    first, second, third = (str(body.freeze().id) for body in bodies)
    backend.open_chord(bodies[2], [second, root], size=2)
    backend.open_chord(bodies[1], [first, root], size=2)
    backend.open_chord(bodies[0], [root], size=1)
    fail(own, root)
    for body in (first, second, third):
        with pytest.raises(ChordError):
            own.AsyncResult(body).get(timeout=10)


def test_opening_while_the_parts_end_misses_none(own: Celery) -> None:
    """Threads end the parts while others open chords over them, in every order that chance brings."""
    backend: PostgresBackend = own.backend
    for _ in range(10):
        parts = ids(6)
        pairs = list(itertools.combinations(parts, 2))
        bodies: list[str] = []

        def open_over(pair: tuple[str, str], bodies: list[str] = bodies) -> None:
            bodies.append(backend.open_chord(task(own, "total").s(), pair, size=2))

        threads = [threading.Thread(target=succeed, args=(own, part)) for part in parts]
        threads += [threading.Thread(target=open_over, args=(pair,)) for pair in pairs]
        random.shuffle(threads)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [own.AsyncResult(body).get(timeout=20) for body in bodies] == [2] * len(pairs)


def test_a_body_that_was_never_published_is_published_again(
    own: Celery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: PostgresBackend = own.backend
    (part,) = ids(1)
    body = backend.open_chord(task(own, "total").s(), [part], size=1)
    # As if the worker had died between the commit of the last part and the publishing.
    monkeypatch.setattr(backend.chords, "publish", lambda rows: None)
    succeed(own, part, 8)
    # Other tests may leave overdue bodies of their own.
    overdue: list[Any] = []
    monkeypatch.setattr(backend.chords, "publish", overdue.extend)
    backend.publish_ready_chords(grace=10)
    assert body not in {row.chord_id for row in overdue}
    monkeypatch.undo()
    database.rows("UPDATE chord SET ready_at = now() - interval '1 hour' WHERE id = :id", id=body)
    backend.publish_ready_chords(grace=10)
    assert own.AsyncResult(body).get(timeout=10) == 8
    assert database.row("SELECT state FROM chord WHERE id = :id", id=body).state == "done"


def test_a_body_that_was_published_but_not_marked_is_only_marked(
    own: Celery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: PostgresBackend = own.backend
    (part,) = ids(1)
    body = backend.open_chord(task(own, "total").s(), [part], size=1)
    succeed(own, part, 8)
    assert own.AsyncResult(body).get(timeout=10) == 8
    database.rows(
        "UPDATE chord SET state = 'ready', ready_at = now() - interval '1 hour' WHERE id = :id",
        id=body,
    )
    sent: list[Any] = []
    monkeypatch.setattr(backend.chords, "publish", sent.extend)
    backend.publish_ready_chords(grace=10)
    assert body not in {row.chord_id for row in sent}
    assert database.row("SELECT state FROM chord WHERE id = :id", id=body).state == "done"


def test_two_recoveries_share_the_overdue_bodies(
    own: Celery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: PostgresBackend = own.backend
    parts = ids(40)
    with monkeypatch.context() as nobody_publishes:
        nobody_publishes.setattr(backend.chords, "publish", lambda rows: None)
        bodies = [backend.open_chord(task(own, "total").s(), [part], size=1) for part in parts]
        for part in parts:
            succeed(own, part)
    database.rows(
        "UPDATE chord SET ready_at = now() - interval '1 hour' WHERE id = ANY (:ids)", ids=bodies
    )
    sent: list[str] = []
    end = backend.chords._end

    def noted(chord: Any) -> Any:
        sent.append(chord.id)
        return end(chord)

    monkeypatch.setattr(backend.chords, "_end", noted)
    threads = [threading.Thread(target=backend.publish_ready_chords, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(sent) & set(bodies)) == sorted(bodies)
    assert len(sent) == len(set(sent))
    assert [own.AsyncResult(body).get(timeout=20) for body in bodies] == [1] * 40
