"""Faults: what goes wrong with the servers and processes of a case when a step says so.

Invariant: only what belongs to the case's own home is hurt.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import redis

from celery_app.errors import ConfigurationError
from celery_app.stack.postgres import PostgresServer
from celery_app.stack.valkey import ValkeyServer
from celery_app.testing.model import MODE_PATH
from celery_app.testing.processes import WorkerProcess, kill, wait_until

__all__ = ["Faults", "cut_off", "empty_broker"]


def cut_off(server: PostgresServer) -> None:
    """End Postgres as a power failure would."""
    kill(server.pid, signal.SIGQUIT)


def empty_broker(server: ValkeyServer) -> None:
    """Let the broker forget everything."""
    with redis.Redis(unix_socket_path=server.address) as client:
        client.flushall()


class Faults:
    """Does what `fault:` steps say.

    Args:
        home: The home of the case.
        model_url: The model server, if it can be told to misbehave.
    """

    def __init__(self, home: Path, model_url: str | None) -> None:
        self._postgres = PostgresServer(home)
        self._valkey = ValkeyServer(home)
        self._model_url = model_url
        self._worker = WorkerProcess(
            "-P", "threads", "--without-gossip",
            "-I", "celery_app.testing.work",
        )  # fmt: skip
        self._faults: dict[str, Callable[[], None]] = {
            "kill_worker": self._kill_worker,
            "wipe_broker": lambda: empty_broker(self._valkey),
            "restart_broker": self._restart_broker,
            "restart_postgres": self._restart_postgres,
            "stall_model": lambda: self._tell_model("stall"),
            "corrupt_model": lambda: self._tell_model("corrupt"),
            "stop_model": lambda: self._tell_model("stop"),
            "heal_model": lambda: self._tell_model("heal"),
        }

    def start_worker(self) -> None:
        """Start the worker that may be killed."""
        self._worker.start()
        self._worker.wait_until_ready()

    def strike(self, fault: str) -> None:
        """Let something go wrong."""
        self._faults[fault]()

    def _kill_worker(self) -> None:
        self._worker.kill()
        self._worker.start()

    def _restart_broker(self) -> None:
        running = self._valkey.pid
        kill(running)
        # A worker that begins at this moment starts it as well.
        wait_until(lambda: self._valkey.pid != running)
        self._valkey.start()

    def _restart_postgres(self) -> None:
        cut_off(self._postgres)
        self._postgres.start()

    def _tell_model(self, mode: str) -> None:
        if self._model_url is None:
            raise ConfigurationError("this model server cannot be told to misbehave")
        httpx.post(f"{self._model_url}{MODE_PATH}", json={"mode": mode}).raise_for_status()
