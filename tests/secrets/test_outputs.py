"""Planted secrets, and everything that the system says, shows and keeps: none of them is in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
from celery import Celery
from sqlalchemy import text

from celery_app.celery import celery_options
from celery_app.postgres.connection import Database
from celery_app.redaction import MARK
from celery_app.security.vault import Vault
from tests.secrets.conftest import BROKER, DATABASE, WEBHOOK, Guarded, client_of
from tests.secrets.user_tasks import MARKER
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)

Outputs = dict[str, str]


def forms(secret: str) -> set[str]:
    """Return how a secret may look in a text."""
    return {secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]}


def seen(secrets: list[str], output: str) -> list[str]:
    """Return where a secret stands, with the words before it."""
    found = {form: output.find(form) for secret in secrets for form in forms(secret)}
    return [output[max(0, at - 100) : at + len(form)] for form, at in found.items() if at >= 0]


@contextmanager
def process(guarded: Guarded, log: Path, *args: str) -> Iterator[None]:
    """Run a Celery program beside the worker."""
    with log.open("w") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_app", *args],
            env={**os.environ, **guarded.environ}, cwd=log.parent,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield
        finally:
            running.terminate()
            running.wait(timeout=30)


def until(happened: Callable[[], Any], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def hear(app: Celery, events: list[str], ended: threading.Event) -> None:
    """Keep every event as it comes."""
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(
            connection, handlers={"*": lambda event: events.append(repr(event))}
        )
        while not ended.is_set():
            with suppress(TimeoutError):
                receiver.capture(limit=None, timeout=1, wakeup=False)


def flower_pages(guarded: Guarded, socket: Path, worker: str, task_id: str) -> str:
    pages = ["/", "/workers?refresh=1", f"/worker/{worker}", "/tasks", f"/task/{task_id}", "/broker",
             "/api/workers?refresh=1", "/api/tasks", f"/api/task/info/{task_id}", "/metrics",
             "/api/queues/length"]  # fmt: skip
    transport = httpx.HTTPTransport(uds=str(socket))
    login = (guarded.flower_file.read_text().split(":")[0], guarded.flower_password)
    with httpx.Client(
        transport=transport, base_url="http://flower", timeout=30, auth=login
    ) as client:
        return "\n".join(f"{page}\n{client.get(page).text}" for page in pages)


def rows(database: Database) -> str:
    """Return every row of every table."""
    found = []
    with database.session() as connection:
        names = connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        )
        for (name,) in names.fetchall():
            for row in connection.execute(text(f'SELECT * FROM "{name}"')):
                found += [
                    bytes(v).decode("latin-1") if isinstance(v, memoryview) else str(v) for v in row
                ]
    return "\n".join(found)


def broker_content(guarded: Guarded) -> str:
    """Return everything that the broker holds."""
    broker: Any = client_of(guarded, BROKER)
    read: dict[bytes, Callable[[Any], Any]] = {
        b"list": lambda key: broker.lrange(key, 0, -1),
        b"hash": broker.hgetall,
        b"set": broker.smembers,
        b"zset": lambda key: broker.zrange(key, 0, -1),
    }
    return "\n".join(f"{key!r} {read[broker.type(key)](key)!r}" for key in broker.scan_iter())


def processes(guarded: Guarded) -> str:
    """Return the command line and the environment of everything that runs here."""
    home = str(guarded.postgres.home.path)
    found = []
    for running in psutil.process_iter():
        with suppress(psutil.Error):
            said = f"{running.cmdline()} {running.environ()}"
            if home in said and running.pid != os.getpid():
                found.append(said)
    assert len(found) >= 3, "the worker, beat and Flower are among them"
    return "\n".join(found)


@pytest.fixture(scope="module")
def outputs(guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Let careless tasks run, and collect all that can be seen of them and of the system."""
    folder = tmp_path_factory.mktemp("said")
    settings = guarded.settings
    app = Celery("onlooker", set_as_current=False)
    app.conf.update(celery_options(settings))
    database = Database(settings.database_url, Vault())
    events: list[str] = []
    ended = threading.Event()
    listener = threading.Thread(target=hear, args=(app, events, ended))
    flower, beat, socket = folder / "flower.log", folder / "beat.log", folder / "f.sock"
    submit = ("-m", "celery_app", "task", "submit", "--json", "--task")
    with (
        WorkerProcess("--loglevel", "DEBUG", "-c", "2", **guarded.environ) as worker,
        process(guarded, beat, "beat", "-s", "schedule", "--loglevel", "DEBUG"),
        process(guarded, flower, "flower", "--port=0", "--address=127.0.0.1", "--debug",
                f"--unix_socket={socket}"),
    ):  # fmt: skip
        listener.start()
        until(socket.exists)
        time.sleep(1)  # both hear from the worker now
        handed_in = guarded.run(*submit, "careless.fail")
        task_id = json.loads(handed_in[handed_in.index("{") :])["id"]
        app.send_task("careless.tell", args=[DATABASE], queue="tasks")
        plain = app.send_task("careless.fail", queue="tasks")
        until(lambda: worker.text().count("it went wrong") and "task-failed" in "".join(events))
        until(lambda: MARKER in str(database.rows("SELECT convert_from(meta, 'UTF8') FROM result")))
        said = {
            "handed in": handed_in,
            "console": guarded.run("-m", "tests.secrets.console", task_id),
            "flower": flower_pages(guarded, socket, f"{worker.name}@{os.uname().nodename}", task_id)
            + flower_pages(guarded, socket, "nobody", plain.id),
            "processes": processes(guarded),
            "postgres": rows(database),
            "redis": broker_content(guarded),
        }
        ended.set()
        listener.join()
        said["worker log"] = worker.text()
    said |= {
        "events": "\n".join(events),
        "flower log": flower.read_text(),
        "beat log": beat.read_text(),
    }
    database.dispose()
    app.close()
    return said


TOLD = ("console", "processes", "flower", "postgres", "redis", "worker log", "events", "flower log",
        "beat log")  # fmt: skip


@pytest.mark.parametrize("place", TOLD)
def test_no_secret_is_told(outputs: Outputs, guarded: Guarded, place: str) -> None:
    assert outputs[place].strip()
    assert seen(guarded.secrets, outputs[place]) == []


@pytest.mark.parametrize("place", ["console", "flower", "postgres", "worker log", "events"])
def test_what_stood_beside_the_secrets_is_told(outputs: Outputs, place: str) -> None:
    """The control: whoever looks for secrets here sees what the careless tasks say."""
    assert MARKER in outputs[place]
    assert MARK in outputs[place]


def test_the_scan_finds_a_secret() -> None:
    """The control of the forms: as it is, in a URL, in a repr and in JSON."""
    for secret in (DATABASE, BROKER, WEBHOOK):
        for output in (
            secret,
            f"redis://:{quote(secret, safe='')}@h",
            repr([secret]),
            json.dumps(secret),
        ):
            assert seen([secret], output)
    assert seen([DATABASE], Path(__file__).with_name("conftest.py").read_text())


def test_a_refused_password_is_not_told(guarded: Guarded) -> None:
    wrong = guarded.write("wrong", database="wr0ng-d@ta", broker="wr0ng-br:ker", webhook=WEBHOOK)
    code = (
        "from celery_app.redaction import guard_logs; guard_logs()\n"
        "from celery_app.celery import app, database\n"
        "import traceback\n"
        "for work in (lambda: database.impatient().rows('SELECT 1'), app.connection().connect):\n"
        "    try: work()\n"
        "    except Exception as error: print(repr(error)); print(traceback.format_exc())\n"
        "app.connection().connect()\n"
    )
    environ = {"CONFIG_PATH": str(wrong)}
    said = guarded.run("-c", code, environ=environ)
    said += guarded.run("-m", "celery_app", "--debug", "status", environ=environ)
    said += guarded.run("-m", "celery_app", "--debug", "task", "list", environ=environ)
    said += guarded.run("-m", "celery_app", "doctor", "--json", environ=environ)
    assert "password authentication failed" in said
    assert seen(["wr0ng-d@ta", "wr0ng-br:ker"], said) == []


def test_files_of_the_home_hold_none(outputs: Outputs, guarded: Guarded) -> None:
    """Logs and records of what runs, that is; only keys stand there, for their owner alone."""
    for path in guarded.postgres.home.path.rglob("*"):
        # What the servers keep is looked at row by row; the folders of settings hold the passwords.
        if path.is_file() and not {"postgres", "valkey", "config", "wrong", "flower"} & set(
            path.parts
        ):
            assert seen(guarded.secrets, path.read_bytes().decode("latin-1")) == [], path
