"""Steady work on servers of its own, a supervisor that starts dead workers again, and every way to
hurt them. Invariant: whatever happens to it is drawn from one seed, so that a campaign can be repeated.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psutil
import redis

from celery_app.errors import AgentSystemError
from celery_app.handles import TaskHandle
from celery_app.local_desk import LocalDesk
from celery_app.testing.processes import kill, wait_until
from tests.faults.conftest import Site
from tests.faults.model import AnsweringModel
from tests.worker_process import WorkerProcess
from workflows.task import Task

QUESTION = re.compile(r"Say whether (\S+) is so")
#: Seconds of a lease in these tests (tests/conftest.py), and somewhat more than that.
PAST_A_LEASE = 4.0


class Arena(Site):
    """A site with workers that come back, and a model that answers.

    Args:
        home: The folder of its servers.
        seed: What is drawn from it: which fault, which worker, which graph.
        pools: The pool of each worker.
        environment: Variables for the workers.
    """

    def __init__(
        self,
        home: Path,
        seed: int,
        pools: tuple[str, ...] = ("threads", "prefork"),
        **environment: str,
    ) -> None:
        super().__init__(home)
        self.chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.home = home
        self.model = AnsweringModel()
        self._pools = pools
        # Whom so many faults hit three times has not caused them.
        self.environ |= {"AI_AGENT__RECOVERY__POISON_LIMIT": "1000", **environment}
        self._workers: list[WorkerProcess] = []
        self._frozen: list[threading.Timer] = []
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        self.model.__enter__()
        self.environ["AI_AGENT__COMPONENTS__OLLAMA__HOSTS"] = f"[{self.model.address}]"
        self.environ["AI_AGENT__AGENTS_FILE"] = str(self._plain_roster())
        self.start()
        self._workers = [self.worker("-P", pool, "-c", "4") for pool in self._pools]
        for worker in self._workers:
            worker.start()
        for worker in self._workers:
            worker.wait_until_ready()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._supervisor.join()
        for timer in self._frozen:
            timer.join()
        for worker in self._workers:
            worker.__exit__(kind, error, traceback)
        self.stop()
        self.model.__exit__(kind, error, traceback)

    def _plain_roster(self) -> Path:
        """Write the usual roster, with agents that take any words for an answer."""
        usual = Path("config/agents.yaml").read_text(encoding="utf-8")
        plain = usual.replace("quotes: true", "quotes: false").replace("assemble", "rewrite")
        path = self.home / "roster.yaml"
        path.write_text(plain, encoding="utf-8")
        return path

    def _supervise(self) -> None:
        """Start again what has died, as a service manager does."""
        while not self._ending.wait(0.2):
            for worker in self._workers:
                if worker.process.poll() is not None:
                    worker.start()

    # Work

    def graph(self, size: int = 20) -> list[dict[str, Any]]:
        """Return tasks in an acyclic graph: chores and questions to the model."""
        tasks: list[dict[str, Any]] = []
        for number in range(size):
            name = str(UUID(int=self.chance.getrandbits(128), version=4))
            near = tasks[-6:]
            needed = self.chance.sample(near, min(len(near), self.chance.randint(0, 3)))
            work: dict[str, Any] = {"task": "chore.sleep", "args": [self.chance.uniform(0.02, 0.4)]}
            if number % 5 == 4:
                work = {"description": f"Say whether {name} is so"}
            tasks.append({"id": name, **work, "dependencies": [task["id"] for task in needed]})
        return tasks

    def hand_in(self, tasks: list[dict[str, Any]]) -> TaskHandle:
        """Submit a graph as a client that does not give up: once, however often it has to try."""
        graph = Task.model_validate({"description": "a graph", "subtasks": tasks})
        for _ in range(300):
            with suppress(AgentSystemError):
                return TaskHandle(self.manager.submit(graph), LocalDesk(manager=self.manager))
            time.sleep(0.2)
        raise AssertionError("nobody took the graph for a minute")

    # Faults

    def hurt(self, name: str | None = None) -> str:
        """Do one thing of `FAULTS`, by chance or by name; return its name."""
        name = name or self.chance.choice(sorted(FAULTS))
        FAULTS[name](self)
        self.done[name] += 1
        return name

    def kill_worker(self) -> None:
        """End a worker and its children at once."""
        worker = self.chance.choice(self._workers)
        with suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)

    def kill_child(self) -> None:
        """End one child of a prefork worker at once."""
        children = [child for worker in self._workers for child in self._children(worker)]
        if children:
            with suppress(psutil.NoSuchProcess):
                self.chance.choice(children).kill()

    @staticmethod
    def _children(worker: WorkerProcess) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return list(psutil.Process(worker.process.pid).children())
        return []

    def stop_worker(self) -> None:
        """Ask a worker to end."""
        self.chance.choice(self._workers).process.terminate()

    def freeze_worker(self) -> None:
        """Stop a worker past its leases, then let it go on."""
        group = self.chance.choice(self._workers).process.pid
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGSTOP)
        timer = threading.Timer(PAST_A_LEASE, self._thaw, (group,))
        timer.start()
        self._frozen.append(timer)

    @staticmethod
    def _thaw(group: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)

    def flush_broker(self) -> None:
        """Let the broker forget everything."""
        with suppress(redis.RedisError):
            self.broker.flushall()

    def restart_broker(self) -> None:
        """Kill the broker; start it again."""
        kill(self.valkey.pid)
        self.valkey.start()

    def restart_postgres(self) -> None:
        """Cut Postgres off as a power failure would; start it again."""
        self.cut_off_postgres()
        self.postgres.start()

    def restart_both(self) -> None:
        """The power fails for both."""
        kill(self.valkey.pid)
        self.restart_postgres()
        self.valkey.start()

    def cut_broker(self) -> None:
        """Cut all connections to the broker."""
        for kind in ("normal", "pubsub"):
            with suppress(redis.RedisError):
                self.cut(kind)

    def cut_postgres(self) -> None:
        """Cut all connections to the database."""
        with suppress(AgentSystemError):
            self.database.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    def double_messages(self) -> None:
        """Deliver everything that is queued twice, in the other order."""
        with suppress(redis.RedisError):
            for key, raw in self.queued():
                self.broker.rpush(key, raw)

    def litter(self) -> None:
        """Put rubbish into the queues."""
        rubbish = [b"", b"\xff\xfe", b"{}", b"[1, 2]", b'{"body": "%%%", "headers": {}}']
        with suppress(redis.RedisError):
            self.put(self.chance.choice(rubbish))

    # What must hold

    def assert_nothing_asked_twice(self) -> None:
        """No question went to the model after its answer had been recorded."""
        recorded = self.database.rows(
            "SELECT task_id, min(extract(epoch FROM at)) AS at FROM model_call GROUP BY task_id"
        )
        # A prompt ends with its own question; what stands above are earlier answers.
        asked = [(moment, QUESTION.findall(words)[-1]) for moment, words in self.model.asked]
        answered = {row.task_id: float(row.at) for row in recorded}
        again = {task for moment, task in asked if moment > answered.get(task, moment)}
        told = [self._history(task, [at for at, other in asked if other == task]) for task in again]
        assert not again, "asked again although the answer was recorded: " + "\n".join(told)

    def _history(self, task: str, asked: list[float]) -> str:
        """Tell when a task was asked about, recorded and handed from one to another."""
        calls = self.database.rows(
            "SELECT extract(epoch FROM at) AS at, 'recorded in try ' || try AS what"
            " FROM model_call WHERE task_id = :id",
            id=task,
        )
        events = self.database.rows(
            "SELECT extract(epoch FROM at) AS at, kind AS what FROM event WHERE task_id = :id",
            id=task,
        )
        told = [(float(row.at), row.what) for row in (*calls, *events)]
        told += [(moment, "asked") for moment in asked]
        return f"{task}: " + ", ".join(f"{what} {at:.3f}" for at, what in sorted(told))

    def assert_all_complete(
        self, runs: list[tuple[TaskHandle, list[dict[str, Any]]]], seconds: float
    ) -> None:
        """All graphs complete without a hand, each task recorded once, nothing left behind."""
        deadline = time.monotonic() + seconds
        for handle, tasks in runs:
            self.assert_recorded(handle, tasks, max(5.0, deadline - time.monotonic()))
        self.assert_nothing_asked_twice()
        wait_until(lambda: not self.left(), 60, self.left)


FAULTS: dict[str, Callable[[Arena], None]] = {
    "worker killed": Arena.kill_worker,
    "child killed": Arena.kill_child,
    "worker stopped": Arena.stop_worker,
    "worker frozen": Arena.freeze_worker,
    "broker emptied": Arena.flush_broker,
    "broker restarted": Arena.restart_broker,
    "postgres restarted": Arena.restart_postgres,
    "both restarted": Arena.restart_both,
    "broker connections cut": Arena.cut_broker,
    "postgres connections cut": Arena.cut_postgres,
    "messages doubled": Arena.double_messages,
    "rubbish in a queue": Arena.litter,
}
