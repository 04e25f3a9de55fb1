"""`ai-agent api` as a process: it answers, and ends in order with streams open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from celery_app.client import Client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery_app", "api", "--port", str(port)],
            env={**os.environ, **environment}, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        url = f"http://localhost:{port}"
        try:
            wait_for(url, process, log)
            yield process, url
        finally:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 150
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return


@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_ends_in_order(client: Client, tmp_path: Path, workers: str) -> None:
    handle = client.submit("Wait for nobody", plan=False)
    log = tmp_path / "api.log"
    with running(log, AI_AGENT__API__WORKERS=workers) as (process, url):
        begun, ended = threading.Event(), threading.Event()

        def listen() -> None:
            headers = {"Accept": "text/event-stream"}
            path = f"{url}/tasks/{handle.id}/events"
            with httpx.stream("GET", path, headers=headers, timeout=60, trust_env=False) as told:
                for line in told.iter_lines():
                    if line == ": following":
                        begun.set()
            ended.set()

        assert f"console will be at http://127.0.0.1:{url.rpartition(':')[2]}/" in log.read_text()
        threading.Thread(target=listen, daemon=True).start()
        assert begun.wait(20)
        answer: list[int] = []

        def wait_long() -> None:
            path = f"{url}/tasks/{handle.id}/result"
            response = httpx.get(path, params={"wait": 30}, timeout=60, trust_env=False)
            answer.append(response.status_code)

        waiting = threading.Thread(target=wait_long)
        waiting.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert ended.wait(5), "a stream is ended at once"
        waiting.join(15)
        assert answer == [200], "what runs is answered"
        process.wait(20)
    text = log.read_text()
    assert f"GET /tasks/{handle.id}/events 200" in text, text
    assert "Traceback" not in text, text
    handle.cancel()


@pytest.mark.timeout(300)
def test_no_process_outlives_the_first_one(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with running(log, AI_AGENT__API__WORKERS="2") as (process, _):
        of_this_api = psutil.Process(process.pid).children(recursive=True)
        assert len(of_this_api) >= 2
        process.kill()
        process.wait(10)
        gone, alive = psutil.wait_procs(of_this_api, timeout=20)
    assert not alive, log.read_text()
    assert len(gone) == len(of_this_api)
    assert "Traceback" not in log.read_text(), log.read_text()


def test_a_configured_system_asks_everybody_for_a_token(client: Client, tmp_path: Path) -> None:
    from fastapi import Request

    from celery_app.api.asking import Desks
    from celery_app.api.problems import Refusal

    scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"",
        "headers": [(b"host", b"localhost:8000")], "client": ("127.0.0.1", 5),
    }  # fmt: skip
    assert Desks(embedded=True).of(Request(scope))[0] == "local"
    with pytest.raises(Refusal, match="there is no token"):
        Desks(embedded=False).of(Request(scope))
    scope["client"] = ("192.168.0.7", 5)
    with pytest.raises(Refusal, match="from another machine"):
        Desks(embedded=True).of(Request(scope))
