"""Results of single tasks: every state, every kind of value, nothing that Celery documents missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import celery.exceptions
import pytest
from celery import Celery, group, states
from celery.exceptions import TaskRevokedError

from celery_app.postgres.backend import PostgresBackend
from celery_app.postgres.connection import Database
from tests.backend.conftest import task


def test_a_result_comes_by_push(own: Celery) -> None:
    waiting = task(own, "wait").delay(0.3)
    begun = time.monotonic()
    assert waiting.get(timeout=10) == 0.3
    assert time.monotonic() - begun < 1.0
    assert waiting.state == "SUCCESS"


def test_an_error_arrives_as_itself(own: Celery) -> None:
    failed = task(own, "fail").delay(words="oh dear")
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
    assert again.kwargs == {}
    assert again.retries == 0
    assert again.queue == own.conf.task_default_queue
    assert again.date_done is not None
    assert again.worker


def test_every_state_is_seen(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    seen: list[str] = []
    running = task(own, "steps").delay(3)
    assert running.get(timeout=10, on_message=lambda meta: seen.append(meta["status"])) == 3
    assert seen[-1] == "SUCCESS"
    assert "PROGRESS" in seen
    for state, value in (("STARTED", {"pid": 1}), ("RETRY", ValueError("x")), ("OWN", {"n": 1})):
        name = uuid4().hex
        backend.store_result(name, value, state)
        assert own.AsyncResult(name).state == state
    assert own.AsyncResult(uuid4().hex).state == states.PENDING


def test_the_first_success_stays(own: Celery) -> None:
    backend: PostgresBackend = own.backend
    name = uuid4().hex
    backend.store_result(name, 1, "SUCCESS")
    backend.store_result(name, ValueError("late"), "FAILURE")
    assert own.AsyncResult(name).get(timeout=5) == 1


def test_a_revoked_task_says_so(own: Celery) -> None:
    revoked = task(own, "add").apply_async((1,), expires=-1)
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=10)
    assert revoked.state == "REVOKED"


def test_a_retried_task_ends_in_its_last_try(own: Celery) -> None:
    assert task(own, "stubborn").delay(2).get(timeout=20) == 2
    with pytest.raises(Exception, match="retry"):
        task(own, "stubborn").delay(9).get(timeout=20)


def test_a_late_word_of_a_retry_does_not_undo_the_end(own: Celery) -> None:
    name = uuid4().hex
    own.backend.store_result(name, ValueError("for good"), "FAILURE")
    own.backend.store_result(name, ValueError("once more"), "RETRY")
    assert own.AsyncResult(name).state == "FAILURE"
    with pytest.raises(ValueError, match="for good"):
        own.AsyncResult(name).get(timeout=5)


@pytest.mark.parametrize(
    "value",
    [None, "", "größer 🎈 \u0000-frei".replace("\u0000", ""), 2**70, [1, [2, {"a": None}]], 0.1],
    ids=["none", "empty", "unicode", "huge", "nested", "float"],
)
def test_values_come_back_as_they_went(own: Celery, value: Any) -> None:
    assert task(own, "same").delay(value).get(timeout=10) == value


def test_a_result_may_be_larger_than_a_megabyte(own: Celery) -> None:
    assert len(task(own, "long").delay(3_000_000).get(timeout=30)) == 3_000_000


def test_what_cannot_be_stored_fails_and_nobody_hangs(own: Celery) -> None:
    with pytest.raises(Exception, match="not JSON serializable"):
        task(own, "unstorable").delay().get(timeout=10)
    with pytest.raises(Exception, match="opaque"):
        task(own, "opaque").delay().get(timeout=10)


@pytest.mark.parametrize("options", [{"result_serializer": "yaml"}, {"result_compression": "gzip"}])
def test_other_serializers_and_compression(
    project: Callable[..., Celery], options: dict[str, str]
) -> None:
    backend: PostgresBackend = project(**options, result_accept_content=["yaml", "json"]).backend
    name = uuid4().hex
    backend.store_result(name, {"wörter": ["a"] * 1000}, "SUCCESS")
    backend._cache.clear()
    assert backend.get_result(name) == {"wörter": ["a"] * 1000}


def test_children_links_and_errbacks(own: Celery, tmp_path: Path) -> None:
    add = task(own, "add")
    linked = add.apply_async((1, 2), link=[add.s(10), add.s(20)])
    linked.get(timeout=10)
    (children,) = own.AsyncResult(linked.id).children
    assert children.get(timeout=10) == [13, 23]
    assert [value for _, value in linked.collect()] == [3, [13, 23], 13, 23]
    heard = tmp_path / "heard"
    errback = task(own, "errback").s(note=str(heard))
    with pytest.raises(ValueError, match="oh dear"):
        task(own, "fail").apply_async(link_error=errback).get(timeout=10)
    deadline = time.monotonic() + 10
    while not (heard.exists() and heard.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert heard.read_text() == "ValueError\n"


def test_results_of_a_set_come_as_they_finish(own: Celery) -> None:
    results = group(task(own, "wait").s(pause) for pause in (0.4, 0.0, 0.2)).apply_async()
    assert [value["result"] for _, value in results.iter_native(timeout=20)] != []
    assert results.join_native(timeout=20) == [0.4, 0.0, 0.2]
    assert results.join(timeout=20) == [0.4, 0.0, 0.2]
    assert results.completed_count() == 3


def test_waiting_ends_with_the_callers_patience(own: Celery) -> None:
    never = own.AsyncResult(uuid4().hex)
    with pytest.raises(celery.exceptions.TimeoutError):
        never.get(timeout=0.3)


def test_nothing_is_kept_of_an_ignored_result(own: Celery) -> None:
    ignored = task(own, "silent").delay(1)
    task(own, "wait").delay(0.2).get(timeout=10)
    assert own.AsyncResult(ignored.id).state == "PENDING"


def test_forget(own: Celery) -> None:
    done = task(own, "add").delay(1, 1)
    done.get(timeout=10)
    done.forget()
    assert own.AsyncResult(done.id).state == "PENDING"


def test_a_group_is_waited_for_saved_and_restored(own: Celery) -> None:
    result = group(task(own, "add").s(n, n) for n in range(50)).apply_async()
    assert result.get(timeout=20) == [2 * n for n in range(50)]
    result.save()
    assert own.GroupResult.restore(result.id).get(timeout=5) == result.get()
    result.delete()
    assert own.GroupResult.restore(result.id) is None


def test_clean_up_deletes_what_is_old_and_nothing_else(
    own: Celery, project: Callable[..., Celery], database: Database
) -> None:
    done = [task(own, "add").delay(1, 1) for _ in range(2)]
    for result in done:
        result.get(timeout=10)
    saved = own.GroupResult(uuid4().hex, done)
    saved.save()
    old = "now() - interval '2 days'"
    database.rows(f"UPDATE result SET date_done = {old} WHERE task_id = :id", id=done[0].id)
    database.rows(f"UPDATE group_result SET created_at = {old} WHERE group_id = :id", id=saved.id)
    open_chord = own.backend.open_chord(task(own, "total").s(), [uuid4().hex])
    database.rows(f"UPDATE chord SET created_at = {old} WHERE id = :id", id=open_chord)
    project(result_expires=86400).backend.cleanup()
    assert own.AsyncResult(done[0].id).state == "PENDING"
    assert own.AsyncResult(done[1].id).state == "SUCCESS"
    assert own.GroupResult.restore(saved.id) is None
    assert database.row("SELECT 1 FROM chord WHERE id = :id", id=open_chord) is None
    assert database.row("SELECT 1 FROM part WHERE chord_id = :id", id=open_chord) is None
    assert "celery.backend_cleanup" in own.tasks


def test_failures_and_chords_may_be_kept_longer_or_shorter(
    own: Celery, project: Callable[..., Celery], database: Database
) -> None:
    failed = own.AsyncResult(uuid4().hex)
    own.backend.store_result(failed.id, ValueError("x"), "FAILURE")
    waiting = own.backend.open_chord(task(own, "total").s(), [uuid4().hex])
    old = "now() - interval '2 hours'"
    database.rows(f"UPDATE result SET date_done = {old} WHERE task_id = :id", id=failed.id)
    database.rows(f"UPDATE chord SET created_at = {old} WHERE id = :id", id=waiting)
    project(result_expires=None).backend.cleanup()
    project(
        result_expires=60, result_failure_expires=86400, result_chord_expires=86400
    ).backend.cleanup()
    assert own.AsyncResult(failed.id).state == "FAILURE"
    assert database.row("SELECT 1 FROM chord WHERE id = :id", id=waiting) is not None
    project(result_failure_expires=60, result_chord_expires=60).backend.cleanup()
    assert own.AsyncResult(failed.id).state == "PENDING"
    assert database.row("SELECT 1 FROM chord WHERE id = :id", id=waiting) is None
