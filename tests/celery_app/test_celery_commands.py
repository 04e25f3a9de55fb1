"""Celery's own commands, as any Celery user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from socket import gethostname

import psutil
import pytest

from celery_app.client import Client
from tests.worker_process import WorkerProcess


def celery(*args: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "celery_app", *args]


def test_inspect_shows_the_worker_its_queues_and_its_recovery(worker: WorkerProcess) -> None:
    def inspected(what: str) -> dict[str, object]:
        done = subprocess.run(
            # Without the name of a worker it waits until the time is over.
            celery("inspect", what, "--json", "--timeout", "20", "-d", f"{worker.name}@{gethostname()}"),
            capture_output=True, text=True, check=True, env=os.environ,
        )  # fmt: skip
        return dict(json.loads(done.stdout.splitlines()[-1]))

    assert any(worker.name in name for name in inspected("ping"))
    queues = json.dumps(inspected("active_queues"))
    for queue in ("tasks", "agent.planner", "agent.writer"):
        assert f'"{queue}"' in queues
    assert "sent_again" in json.dumps(inspected("stats"))


@pytest.mark.parametrize(
    ("args", "sign"),
    [
        # Until its schedule is open, a signal leaves a broken one behind.
        (("beat", "--loglevel", "INFO", "--schedule", "{tmp}/schedule"), "Sending due task"),
        (
            ("worker", "--loglevel", "INFO", "-P", "solo", "-n", "own@%h", "-Q", "agent.writer"),
            "ready.",
        ),
    ],
)
def test_a_process_starts_and_ends_when_told(
    worker: WorkerProcess, tmp_path: Path, args: tuple[str, ...], sign: str
) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            celery(*(arg.format(tmp=tmp_path) for arg in args)), stdout=output, stderr=output
        )
    try:
        wait_for(lambda: sign in log.read_text(), process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0, log.read_text()
    finally:
        process.kill()


def test_flower_shows_the_worker(worker: WorkerProcess, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            celery("flower", "--port=0", "--address=127.0.0.1", f"--unix_socket={tmp_path}/f.sock"),
            stdout=output, stderr=output, env=os.environ,
        )  # fmt: skip
    try:
        socket = tmp_path / "f.sock"
        wait_for(socket.exists, process, log)

        def seen() -> bool:
            done = subprocess.run(
                ["curl", "-s", "-u", password(), "--unix-socket", str(socket), "http://flower/workers?json=1"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            return worker.name in done.stdout

        wait_for(seen, process, log)
    finally:
        process.terminate()
        process.wait(timeout=20)


def password() -> str:
    """Return the user and the password that Flower has made for itself."""
    return (Path(os.environ["AI_AGENT_HOME"]) / "flower").read_text().strip()


def wait_for(
    true: object, process: subprocess.Popen[bytes], log: Path, timeout: float = 40
) -> None:
    assert callable(true)
    deadline = time.monotonic() + timeout
    while not true():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("args", "children"), [((), 0), (("-P", "threads"), 0), (("-P", "prefork"), 2)]
)
def test_the_pool_is_the_one_that_was_asked_for(
    client: Client, args: tuple[str, ...], children: int
) -> None:
    """Threads unless the command line says otherwise; `worker_pool` would overrule `-P prefork`."""
    with WorkerProcess(*args, "-c", "2") as worker:
        assert len(psutil.Process(worker.process.pid).children()) == children


def test_the_broker_is_shown_as_it_was_given(client: Client) -> None:
    """Flower chooses by this address how to look into the queues."""
    from celery_app.celery import app, settings

    with app.connection() as connection:
        shown = connection.as_uri(include_password=True)
        assert settings.broker_url.startswith(shown.split("?")[0])
        assert connection.transport_cls == "agentredis"
