"""Rows: what they show, what cannot be put into them, and keys that change while work runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chord
from redis import Redis

from celery_app.celery import app, database, settings, vault
from celery_app.client import Client
from celery_app.errors import Unsealed
from celery_app.store.sealed import SEALED, SealedStore
from tests.security.scan import dump
from tests.worker_process import WorkerProcess
from workflows.definitions import load

MARKER = "planted-7f3a"


@pytest.fixture(scope="module")
def broker(client: Client) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(settings.components.message_bus.unix_socket)) as redis:
        yield redis


def graph(words: list[str]) -> list[dict[str, Any]]:
    return [
        {"id": f"00000000-0000-4000-8000-{os.urandom(6).hex()}", "task": "chore.echo", "args": [w]}
        for w in words
    ]


def test_every_column_with_bytes_is_known_as_sealed(client: Client) -> None:
    found = database.rows(
        """
        SELECT table_name, column_name FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'bytea'
        """
    )
    known = {(column.table, column.name) for column in SEALED}
    assert {(row.table_name, row.column_name) for row in found} - PUBLIC == known


WORKFLOW = """
name: seals
inputs: {topic: {type: string}}
steps:
  - {id: a, task: chore.echo, args: ["{{ inputs.topic }}"]}
  - {id: b, when: "{{ steps.a.output == inputs.topic }}", approval: {question: "Publish {{ inputs.topic }}?"}}
"""

#: Bytes that are no payloads.
PUBLIC = {
    *(("stretch", name) for name in ("marks", "previous", "digest", "signature")),
    *((table, name) for table in ("checkpoint", "audit_head") for name in ("digest", "signature")),
    # Enciphered: the key is sealed beside it.
    ("content", "body"),
}


def test_dumps_show_nothing_of_what_tasks_are_about(
    client: Client, worker: WorkerProcess, broker: Redis
) -> None:
    handle = client.submit_graph(graph([MARKER, f"{MARKER} two"]))
    assert sorted(handle.result(timeout=30).values()) == [MARKER, f"{MARKER} two"]
    echo = app.signature("chore.echo")
    joined = chord([echo.clone([MARKER]), echo.clone([MARKER])], echo.clone())
    assert joined.apply_async().get(timeout=30) == [MARKER, MARKER]
    failing = app.send_task("chore.fail", args=[MARKER])
    failing.get(timeout=20, propagate=False)
    app.send_task("chore.echo", args=[MARKER], queue="nobody-here")
    run = client.start_workflow(load(WORKFLOW), {"topic": MARKER})
    while run.state not in {"waiting", "failed"}:
        time.sleep(0.05)
    assert run.tree()["steps"][1]["question"]["question"] == f"Publish {MARKER}?"
    everything = dump(database, broker)
    assert str(handle.id).encode() in everything
    assert b"chore.echo" in everything
    assert MARKER.encode() not in everything


def test_a_row_that_is_copied_over_another_is_refused(
    client: Client, worker: WorkerProcess
) -> None:
    one, other = (client.submit_graph(graph([word])) for word in ("one", "other"))
    assert list(one.result(timeout=30).values()) == ["one"]
    assert list(other.result(timeout=30).values()) == ["other"]
    database.rows(
        "UPDATE task SET result = o.result FROM task o WHERE task.id = :one AND o.id = :other",
        one=str(one.id),
        other=str(other.id),
    )
    with pytest.raises(Unsealed, match=f"task.result of {one.id} cannot be opened: it was altered"):
        one.tree()
    database.rows("UPDATE task SET result = spec WHERE id = :id", id=str(other.id))
    with pytest.raises(Unsealed, match=r"task\.result"):
        other.tree()
    database.rows("""UPDATE task SET result = '"forged"' WHERE id = :id""", id=str(other.id))
    with pytest.raises(Unsealed, match="it is not sealed"):
        other.tree()
    database.rows(
        "UPDATE task SET result = NULL WHERE id = ANY (:ids)", ids=[str(one.id), str(other.id)]
    )


def test_a_forged_result_of_a_celery_task_is_refused(worker: WorkerProcess) -> None:
    one, other = (app.send_task("chore.echo", args=[word]) for word in ("one", "other"))
    assert (one.get(timeout=20), other.get(timeout=20)) == ("one", "other")
    database.rows(
        "UPDATE result SET meta = o.meta FROM result o WHERE result.task_id = :one AND o.task_id = :other",
        one=one.id,
        other=other.id,
    )
    with pytest.raises(Unsealed, match=r"result\.meta"):
        app.AsyncResult(one.id).get(timeout=5)
    database.rows("DELETE FROM result WHERE task_id = :id", id=one.id)


def test_keys_change_while_work_runs(client: Client, worker: WorkerProcess) -> None:
    ring, store = vault.ring, SealedStore(database)
    assert ring is not None
    for _ in range(3):
        handles = [client.submit_graph(graph([f"{n}" for n in range(20)])) for _ in range(5)]
        plain = [app.send_task("chore.echo", args=[n]) for n in range(50)]
        ring.appoint(ring.add())
        store.reseal()
        handles += [client.submit_graph(graph([f"{n}" for n in range(20)])) for _ in range(5)]
        assert [result.get(timeout=60) for result in plain] == list(range(50))
        for handle in handles:
            assert sorted(handle.result(timeout=60).values()) == sorted(map(str, range(20)))
    assert "set aside" not in worker.text()
    store.reseal()
    current = ring.current
    assert current is not None
    # The worker may seal with the key before for another second.
    assert set(store.counts()) >= {current.id}


def test_what_does_not_open_is_told_and_left(client: Client, worker: WorkerProcess) -> None:
    ring, store = vault.ring, SealedStore(database)
    assert ring is not None
    handle = client.submit_graph(graph(["x"]))
    handle.result(timeout=30)
    task_id = handle.tree()["tasks"][0]["id"]
    kept = database.row("SELECT result FROM task WHERE id = :id", id=task_id).result
    damaged = bytes(kept)[:-1] + bytes([bytes(kept)[-1] ^ 1])
    database.rows("UPDATE task SET result = :value WHERE id = :id", value=damaged, id=task_id)
    ring.appoint(ring.add())
    [told] = store.reseal().refused
    assert told.startswith(f"task.result of {task_id} cannot be opened")
    assert (
        bytes(database.row("SELECT result FROM task WHERE id = :id", id=task_id).result) == damaged
    )
    database.rows("UPDATE task SET result = :value WHERE id = :id", value=bytes(kept), id=task_id)
    assert store.reseal().refused == []


def test_an_older_home_is_sealed_when_it_gets_its_first_key(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environ = {
        **os.environ,
        "AI_AGENT_HOME": str(tmp_path_factory.mktemp("h")),
        "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": "[127.0.0.1:9]",
    }
    off = {**environ, "AI_AGENT__SECURITY__ENCRYPTION__ENABLED": "false"}
    (tmp_path / "work.py").write_text(WORK)
    work = [sys.executable, str(tmp_path / "work.py")]
    cli = [sys.executable, "-m", "celery_app"]
    try:
        # So the scan is known to find what was planted.
        assert output_of(work, off).endswith("clear")
        assert "seals everything from now on" in output_of([*cli, "keys", "create"], environ)
        assert output_of(work, environ).endswith("sealed")
    finally:
        subprocess.run([*cli, "down"], env=environ, check=True, capture_output=True)


def output_of(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


#: A process of its own, since the app reads its settings when it is imported.
WORK = f"""
from redis import Redis
from celery_app.celery import app, database, settings, store
from celery_app.client import Client
from tests.security.scan import dump
from tests.worker_process import WorkerProcess

client = Client()
task = {{"task": "chore.echo", "args": ["{MARKER}"]}}
redis = Redis(unix_socket_path=str(settings.components.message_bus.unix_socket))
redis.flushall()
with WorkerProcess("-Q", "tasks", "-P", "solo"):
    handle = client.submit_graph([task])
    assert list(handle.result(timeout=60).values()) == ["{MARKER}"]
    app.send_task("chore.echo", args=["{MARKER}"], queue="nobody-here")
# What was handed in before can be read, whichever way it was stored.
assert all(store.tree(task.id) for task in store.newest())
print("clear" if b"{MARKER}" in dump(database, redis) else "sealed")
"""
