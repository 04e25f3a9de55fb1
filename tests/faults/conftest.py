"""Servers that a test may kill, freeze, fill and empty, and a client of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult

from celery_app.celery import celery_options
from celery_app.handles import TaskHandle
from celery_app.local_desk import LocalDesk
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.queues import PRIORITY_STEPS, PriorityQueue
from celery_app.stack.postgres import PostgresServer
from celery_app.stack.profile import current_settings
from celery_app.stack.stack import Stack
from celery_app.stack.valkey import ValkeyServer
from celery_app.store.graphs import GraphStore
from celery_app.store.tasks import TaskStore
from celery_app.testing.faults import cut_off
from celery_app.testing.processes import kill, wait_until
from tests.worker_process import WorkerProcess
from workflows.task import Task

__all__ = ["PREFIX", "VISIBILITY_TIMEOUT", "Site", "kill", "site", "wait_until"]

#: Seconds; the keeper renews six times within it, and four sweeps look for what is overdue.
VISIBILITY_TIMEOUT = 3.0
PREFIX = "ai-agent-system:"


class Site:
    """A stack of the test's own, with everything that talks to it.

    Args:
        home: The folder of its servers.
    """

    def __init__(self, home: Path) -> None:
        self.valkey = ValkeyServer(home)
        self.postgres = PostgresServer(home)
        self._stack = Stack(home, [self.postgres, self.valkey])
        self.environ = {
            "AI_AGENT_HOME": str(home),
            # Nobody asks a model here.
            "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": "[127.0.0.1:9]",
            "AI_AGENT__WORKER__VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT),
        }

    def start(self) -> None:
        self._stack.start()
        settings = current_settings({**os.environ, **self.environ})
        self.app = Celery(
            "faults", task_cls="celery_app.worker.base_task:AgentTask", set_as_current=False
        )
        self.app.conf.update(celery_options(settings))
        self.database = Database(settings.database_url)
        migrate(self.database)
        queue = PriorityQueue(self.app)
        self.manager = TaskManager(TaskStore(self.database), GraphStore(self.database), queue)
        self.broker = redis.Redis(unix_socket_path=self.valkey.address)

    def stop(self) -> None:
        self.app.backend.result_consumer.stop()
        self.app.close()
        self.broker.close()
        self.database.dispose()
        self._stack.stop()

    # Work

    def worker(self, *args: str, without: str | None = None) -> WorkerProcess:
        """Return a worker of this stack, `without` one of its guards."""
        if without is None:
            return WorkerProcess(*args, **self.environ)
        return WorkerProcess(
            *args, app="tests.faults.weak_app", FAULTS_WITHOUT=without, **self.environ
        )

    @contextmanager
    def beat(self, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run a beat of this stack."""
        folder.mkdir()
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_app", "beat", "-s", "schedule"],
                env={**os.environ, **self.environ}, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def submit(self, tasks: list[dict[str, Any]]) -> TaskHandle:
        task = Task.model_validate({"description": "a graph", "subtasks": tasks})
        return TaskHandle(self.manager.submit(task), LocalDesk(manager=self.manager))

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult[Any]:
        """Send an ordinary Celery task, of which nobody but the broker knows until it has ended."""
        return self.app.send_task(name, args=args, **options)

    def kinds(self, handle: TaskHandle, kind: str) -> list[str]:
        """Return the ids of the tasks that something has happened to, once for each time."""
        return [event["task_id"] for event in handle.events() if event["kind"] == kind]

    def wait_for(self, handle: TaskHandle, kind: str, task: dict[str, Any], times: int = 1) -> None:
        wait_until(
            lambda: self.kinds(handle, kind).count(task["id"]) >= times,
            why=f"{kind}: {task}",
        )

    def assert_complete(
        self, handle: TaskHandle, tasks: list[dict[str, Any]], seconds: float = 30
    ) -> None:
        """Wait for the end of a graph: each task recorded once, nothing left with the broker."""
        self.assert_recorded(handle, tasks, seconds)
        wait_until(lambda: not self.left(), 30, self.left)

    def assert_recorded(
        self, handle: TaskHandle, tasks: list[dict[str, Any]], seconds: float
    ) -> None:
        """Wait for the end of a graph: each task recorded once."""
        wait_until(lambda: handle.state in {"succeeded", "failed"}, seconds, handle.tree)
        assert handle.state == "succeeded"
        recorded = self.kinds(handle, "succeeded")
        assert sorted(recorded) == sorted([*(task["id"] for task in tasks), str(handle.id)])

    def left(self) -> dict[str, int]:
        """Return how much stands in the queues, and is unconfirmed."""
        found = {key: self.broker.llen(self.key(key)) for key in self.queue_keys()}
        found["unacked"] = self.broker.hlen(self.key("unacked"))
        found["unacked_index"] = self.broker.zcard(self.key("unacked_index"))
        return {key: int(str(size)) for key, size in found.items() if size}

    # Postgres

    def flush_postgres(self) -> None:
        """Have on disk what has happened so far: claims do not wait for that."""
        self.database.rows("SELECT pg_logical_emit_message(true, 'flush', '')")

    def cut_off_postgres(self) -> None:
        """End Postgres as a power failure would."""
        cut_off(self.postgres)

    # The broker

    def key(self, name: str) -> str:
        return f"{PREFIX}{name}"

    def queue_keys(self) -> list[str]:
        levels = ["", *(f"\x06\x16{level}" for level in PRIORITY_STEPS[1:])]
        return [f"{queue}{level}" for queue in self.app.amqp.queues for level in levels]

    def put(self, raw: bytes, queue: str = "tasks") -> None:
        """Put bytes into a queue, whatever they are."""
        self.broker.lpush(self.key(queue), raw)

    def queued(self) -> list[tuple[str, bytes]]:
        """Return the messages that stand in queues, with their keys."""
        return [
            (key, bytes(raw))
            for key in map(self.key, self.queue_keys())
            for raw in self.broker.lrange(key, 0, -1)
            if isinstance(raw, bytes)
        ]

    def cut(self, kind: str) -> None:
        """Cut all connections of a kind: `normal` or `pubsub`."""
        self.broker.client_kill_filter(_type=kind, skipme=True)

    def signal(self, number: signal.Signals) -> None:
        pid = self.valkey.pid
        assert pid is not None
        os.kill(pid, number)

    @contextmanager
    def broker_away(self, worker: WorkerProcess) -> Iterator[None]:
        """Kill the broker; start it again at the end, once the worker has noticed."""
        lost = worker.text().count("Connection to broker lost")
        self.signal(signal.SIGKILL)
        wait_until(lambda: self.valkey.pid is None)
        yield
        wait_until(
            lambda: (
                worker.text().count("Connection to broker lost") > lost
                or worker.process.poll() is not None
            )
        )
        self.valkey.start()

    @property
    def data(self) -> Path:
        """The folder of what the broker keeps."""
        return self.valkey.home.folder("valkey") / "appendonlydir"

    def replace_data(self, other: Path | None) -> None:
        """Give the broker, which is down, other data or none."""
        shutil.rmtree(self.data)
        if other is not None:
            shutil.copytree(other, self.data)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A stack of the test's own, running."""
    made = Site(tmp_path / "site")
    made.start()
    yield made
    made.stop()
