"""Whoever waits is woken: one listener for any number of waiters, in every pool that can have one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery, group
from celery.exceptions import ImproperlyConfigured

from celery_app.postgres import notify
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.stack.postgres import DATABASE, PORT, USER, PostgresServer
from celery_app.stack.profile import is_embedded
from celery_app.stack.stack import Stack
from celery_app.urls import database_url
from tests.backend.conftest import close, task
from tests.backend.project import make_project
from tests.worker_process import WorkerProcess

LISTENERS = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


def test_one_process_listens_once_however_many_wait(own: Celery, database: Database) -> None:
    results = [task(own, "wait").delay(0.2) for _ in range(8)]
    answers: list[float] = []
    waiters = [
        threading.Thread(target=lambda r=result: answers.append(r.get(timeout=20)))
        for result in results
    ]
    for waiter in waiters:
        waiter.start()
    listening = database.row(f"{LISTENERS} AND datname = current_database()")
    for waiter in waiters:
        waiter.join()
    assert answers == [0.2] * 8
    # This project's listener, and that of the session's own client if it has waited.
    assert listening.n <= 2


def test_nobody_listens_where_nobody_waits(
    project: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SAFETY_INTERVAL", 0.1)
    app = project()
    listeners = threading.active_count()
    for _ in range(2):
        result = app.AsyncResult(uuid4().hex)
        threading.Timer(0.2, app.backend.store_result, (result.id, 1, "SUCCESS")).start()
        assert result.get(timeout=10) == 1
        deadline = time.monotonic() + 10
        while threading.active_count() > listeners:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_thousands_wait_at_once(own: Celery) -> None:
    """200 threads wait for ten results each, which all come at the same time."""
    backend = own.backend
    ids = [[uuid4().hex for _ in range(10)] for _ in range(200)]
    sums: list[int] = []

    def wait(mine: list[str]) -> None:
        sums.append(
            sum(own.GroupResult(uuid4().hex, list(map(own.AsyncResult, mine))).get(timeout=60))
        )

    waiters = [threading.Thread(target=wait, args=(mine,)) for mine in ids]
    for waiter in waiters:
        waiter.start()
    begun = time.monotonic()
    for mine in ids:
        for task_id in mine:
            backend.store_result(task_id, 1, "SUCCESS")
    for waiter in waiters:
        waiter.join(timeout=60)
    assert sums == [10] * 200
    assert time.monotonic() - begun < 30


def test_results_survive_the_loss_of_the_listening_connection(
    own: Celery, database: Database
) -> None:
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


@pytest.mark.skipif(not is_embedded(), reason="restarts a server of its own")
def test_results_survive_a_restart_of_postgres(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "home")
    stack = Stack(tmp_path / "home", [server])
    stack.start()
    try:
        url = database_url(USER, None, str(server.socket.parent), PORT, DATABASE)
        migrate(Database(url))
        app = make_project("memory://", f"agentpg+{url}", "unused")
        before, after = app.AsyncResult(uuid4().hex), app.AsyncResult(uuid4().hex)
        app.backend.store_result(before.id, "kept", "SUCCESS")
        answers: list[str] = []
        waiter = threading.Thread(target=lambda: answers.append(after.get(timeout=60)))
        waiter.start()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGQUIT)  # immediate: as if the power had failed
        restart = threading.Timer(1.0, server.start)
        restart.start()
        # Stored while the server is away: the statement is tried until it is back.
        app.backend.store_result(after.id, "stored", "SUCCESS")
        restart.join()
        waiter.join(timeout=30)
        assert answers == ["stored"]
        assert before.get(timeout=5) == "kept"
        close(app)
        app.backend.database.dispose()
    finally:
        stack.stop()


@pytest.mark.parametrize("mode", ["inline", "after"])
def test_notifications_come_in_the_commit_or_after_it(
    project: Callable[..., Celery], mode: str
) -> None:
    app = project(result_backend_transport_options={"notify": mode})
    result = app.AsyncResult(uuid4().hex)
    threading.Timer(0.2, lambda: app.backend.store_result(result.id, 1, "SUCCESS")).start()
    begun = time.monotonic()
    assert result.get(timeout=10) == 1
    assert time.monotonic() - begun < notify.SAFETY_INTERVAL / 2


def test_without_notifications_a_slow_look_finds_the_result(
    project: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SAFETY_INTERVAL", 1.0)
    app = project(result_backend_transport_options={"notify": "off"})
    result = app.AsyncResult(uuid4().hex)
    threading.Timer(0.2, lambda: app.backend.store_result(result.id, 1, "SUCCESS")).start()
    begun = time.monotonic()
    assert result.get(timeout=10) == 1
    assert 0.5 < time.monotonic() - begun < 3


def test_an_unknown_way_to_notify_is_refused(urls: tuple[str, str]) -> None:
    app = make_project(*urls, "unused", result_backend_transport_options={"notify": "loudly"})
    with pytest.raises(ImproperlyConfigured, match=r"'loudly', not one of inline, after, off"):
        _ = app.backend


@pytest.mark.parametrize("pool", [("prefork", "3"), ("solo", "1"), ("threads", "4")])
def test_every_blocking_pool_works(
    project: Callable[..., Celery], urls: tuple[str, str], pool: tuple[str, str]
) -> None:
    queue = f"pool-{uuid4().hex[:8]}"
    app = project(queue)
    kind, size = pool
    environment = {"FOREIGN_BROKER": urls[0], "FOREIGN_BACKEND": urls[1], "FOREIGN_QUEUE": queue}
    with WorkerProcess(
        "-P", kind, "-c", size, app="tests.backend.project_app", **environment
    ) as worker:
        parts = group(task(app, "add").s(number, 1) for number in range(30)).apply_async()
        assert parts.get(timeout=30) == list(range(1, 31))
        if kind != "solo":
            # Tasks that wait themselves: a child listens on a connection of its own.
            found = group(task(app, "gather").s(5) for _ in range(2)).apply_async().get(timeout=30)
            assert [values for _, values in found] == [[1, 2, 3, 4, 5]] * 2
            if kind == "prefork":
                assert worker.process.pid not in {pid for pid, _ in found}


GREEN = """
from gevent import monkey; monkey.patch_all()
import json, os
from tests.backend.project import make_project
app = make_project(os.environ["FOREIGN_BROKER"], os.environ["FOREIGN_BACKEND"], "unused")
app.backend
"""


def test_gevent_is_refused_with_the_reason(urls: tuple[str, str]) -> None:
    environment = {
        **os.environ,
        "FOREIGN_BROKER": urls[0],
        "FOREIGN_BACKEND": urls[1],
        "FOREIGN_QUEUE": "unused",
    }
    for command in (
        ["-W", "ignore", "-c", GREEN],
        ["-m", "celery", "-A", "tests.backend.project_app", "worker", "-P", "gevent"],
    ):
        ended = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode != 0
        assert "cannot run under gevent or eventlet" in ended.stderr + ended.stdout


def test_a_backend_travels_in_a_pickle_with_its_address(own: Celery) -> None:
    make, arguments = own.backend.__reduce__()[:2]
    assert make(*arguments).as_uri(include_password=True) == own.backend.as_uri(
        include_password=True
    )
    assert json.dumps(own.backend.as_uri())
