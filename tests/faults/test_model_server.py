"""Model servers that die, hang, are full, break off and talk nonsense, under real workers.

Nobody who only met a server that was away has lost a try by it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
import redis

from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until
from tests.faults.model_faults import MODEL, FaultyModel, Mood
from tests.worker_process import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

QUESTIONS = 8
ROSTER = f"""
defaults: {{model: "{MODEL}", options: {{num_ctx: 4096, num_predict: 300}}}}
agents:
  planner: {{capabilities: [planning]}}
  researcher: {{capabilities: [research]}}
  analyst: {{capabilities: [analysis]}}
  writer: {{capabilities: [writing]}}
  reader: {{type: reviewer, capabilities: [review], quotes: true}}
"""


@pytest.fixture
def model() -> Iterator[FaultyModel]:
    with FaultyModel() as server:
        yield server


@pytest.fixture
def roster(tmp_path: Path) -> Path:
    path = tmp_path / "agents.yaml"
    path.write_text(ROSTER, encoding="utf-8")
    return path


@contextmanager
def worker_of(
    model: FaultyModel,
    roster: Path,
    *args: str,
    environ: Mapping[str, str] = MappingProxyType({}),
    **ollama: str,
) -> Iterator[WorkerProcess]:
    """A worker whose only model server is this one."""
    limits = {"FIRST_WORD": "1.5", "SILENCE": "1", "PROBE_INTERVAL": "0.5", **ollama}
    settings = {f"AI_AGENT__COMPONENTS__OLLAMA__{key}": value for key, value in limits.items()}
    with WorkerProcess(
        *args,
        AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{model.address}]",
        AI_AGENT__AGENTS_FILE=str(roster),
        **settings,
        **environ,
    ) as worker:
        yield worker


def ask(client: Client, number: int = QUESTIONS) -> TaskHandle:
    return client.submit_graph(
        [{"id": str(uuid4()), "description": f"Say whether {n} is so."} for n in range(number)]
    )


def tries(handle: TaskHandle) -> list[int]:
    from celery_app.celery import database

    rows = database.rows("SELECT tries FROM task WHERE root_id = :id", id=str(handle.id))
    return [row.tries for row in rows]


def assert_unharmed(handle: TaskHandle, seconds: float = 30) -> None:
    assert handle.result(timeout=seconds)
    assert set(tries(handle)) == {0}


def assert_others_run(client: Client) -> None:
    value = str(uuid4())
    chore = {"id": str(uuid4()), "task": "chore.echo", "args": [value]}
    assert client.submit_graph([chore]).result(timeout=5) == {chore["id"]: value}


def inspect(worker: WorkerProcess, command: str = "models") -> dict[str, Any]:
    """Ask the worker as an operator does."""
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "celery_app", "inspect", command, "--json",
         "--timeout", "10", "--destination", f"{worker.name}@{socket.gethostname()}"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    (found,) = json.loads(asked.stdout).values()
    assert isinstance(found, dict)
    return found


def waiting(handle: TaskHandle) -> int:
    """Return how many tasks of a graph have their message in a queue."""
    from celery_app.celery import queue

    return len(queue.waiting_ids() & {task["id"] for task in handle.tree()["tasks"]})


def served_again(worker: WorkerProcess) -> int:
    return worker.text().count("queue agent.writer is served")


def held(worker: WorkerProcess) -> int:
    return worker.text().count("Canceling queue agent.writer")


def cut_all_connections() -> None:
    from celery_app.celery import app

    with (
        app.connection_for_read() as connection,
        connection.default_channel.conn_or_acquire() as broker,
    ):
        assert isinstance(broker, redis.Redis)
        broker.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize(
    ("pool", "outage"),
    [("threads", 6.0), pytest.param("prefork", 20.0, marks=pytest.mark.faults_long)],
)
def test_a_server_that_is_away_costs_no_try(
    client: Client, roster: Path, pool: str, outage: float
) -> None:
    model = FaultyModel(words=20, pause=0.1)
    model.reserve()
    with worker_of(model, roster, "-P", pool, "-c", "6") as worker:
        early = ask(client)
        wait_until(lambda: "tasks of agents wait" in worker.text())
        assert_others_run(client)
        assert waiting(early) == QUESTIONS, "nothing was taken while nobody could answer"
        report = inspect(worker)
        assert report["gate"] == "closed"
        assert "agent.writer" in report["held_queues"]
        with model:
            wait_until(lambda: served_again(worker) == 1, 5)
            wait_until(lambda: model.under_way >= 2, why="calls are under way")
        # Now it is dead, in the middle of them.
        wait_until(lambda: held(worker) == 2, 5)
        later = ask(client)
        wait_until(lambda: waiting(later) == QUESTIONS, why="the later ones are in the queue")
        cut_all_connections()
        wait_until(lambda: "Connection to broker lost" in worker.text())
        died = time.monotonic()
        while time.monotonic() < died + outage:
            assert_others_run(client)
        assert waiting(later) == QUESTIONS, "what is held back stays so over a new connection"
        assert {early.state, later.state}.isdisjoint({"failed", "succeeded"})
        with model:
            wait_until(lambda: served_again(worker) == 2, 5)
            assert_unharmed(early)
            assert_unharmed(later)
            report = inspect(worker)
            assert report["gate"] == "open"
            assert report["held_queues"] == []
            host = report["hosts"][f"http://{model.address}"]
            assert (host["state"], host["models"], host["slots"]) == ("up", [MODEL], 4)
            assert inspect(worker, "stats")["models"]["gate"] == "open"
    assert model.busiest <= 4, "all processes of the machine share the slots"
    assert model.loads >= 2, "it is warmed up whenever it comes back"


@pytest.mark.parametrize(
    "mood", [Mood.HANGS, pytest.param(Mood.FULL, marks=pytest.mark.faults_long)]
)
def test_a_server_that_takes_no_calls_costs_no_try(
    client: Client, model: FaultyModel, roster: Path, mood: Mood
) -> None:
    model.words, model.pause = 10, 0.05
    with worker_of(model, roster, "-c", "6") as worker:
        wait_until(lambda: served_again(worker) == 1)
        handle = ask(client)
        wait_until(lambda: model.under_way >= 2)
        model.mood = mood
        wait_until(lambda: held(worker) == 2, 8)
        assert_others_run(client)
        more = ask(client)
        wait_until(lambda: waiting(more) > 0)
        model.mood = Mood.WELL
        assert_unharmed(handle)
        assert_unharmed(more)


@pytest.mark.faults_long
@pytest.mark.parametrize("gate", [True, False])
def test_without_the_gate_tasks_are_started_in_vain(
    client: Client, roster: Path, gate: bool
) -> None:
    model = FaultyModel()
    model.reserve()
    weak = {} if gate else {"app": "tests.faults.weak_app", "FAULTS_WITHOUT": "gate"}
    with worker_of(model, roster, environ=weak):
        handle = ask(client)
        time.sleep(5)
        started = [event for event in handle.events() if event["kind"] == "started"]
        assert (not started) == gate
        handle.cancel()


@pytest.mark.faults_long
@pytest.mark.parametrize("first_word", ["1.5", "60"])
def test_without_a_limit_a_silent_server_is_waited_for(
    client: Client, model: FaultyModel, roster: Path, first_word: str
) -> None:
    # Nobody looks again so soon: it is the call that has to find out.
    with worker_of(model, roster, FIRST_WORD=first_word, PROBE_INTERVAL="60") as worker:
        wait_until(lambda: served_again(worker) == 1)
        model.mood = Mood.HANGS
        handle = ask(client, 1)
        time.sleep(6)
        kinds = [event["kind"] for event in handle.events()]
        assert "started" in kinds
        assert ("retried" in kinds) == (first_word == "1.5")
        handle.cancel()


def test_answers_that_are_cut_off_are_asked_for_again(
    client: Client, model: FaultyModel, roster: Path
) -> None:
    with worker_of(model, roster) as worker:
        wait_until(lambda: served_again(worker) == 1)
        model.mood = Mood.CUTS
        handle = ask(client, 3)
        wait_until(lambda: len(model.asked) >= 5)
        model.mood = Mood.WELL
        assert handle.result(timeout=30)
    assert max(tries(handle)) in {1, 2, 3}, "the server was there: this was a try"


@pytest.mark.faults_long
def test_a_server_that_never_ends_an_answer_fails_the_task_in_the_end(
    client: Client, model: FaultyModel, roster: Path
) -> None:
    with worker_of(model, roster):
        model.mood = Mood.CUTS
        task = {"id": str(uuid4()), "description": "Say it", "retry": {"max": 1, "seconds": 0.1}}
        handle = client.submit_graph([task])
        wait_until(lambda: handle.state == "failed", 20)
        (failed,) = handle.tree()["tasks"]
        assert failed["error"]["type"] == "IncompleteReply"
        assert "ask again" in failed["error"]["message"]


def test_prose_instead_of_json_is_repaired(
    client: Client, model: FaultyModel, roster: Path
) -> None:
    model.mood = Mood.PROSE
    with worker_of(model, roster):
        handle = client.submit("Report about the mill and its visitors", plan=True)
        wait_until(lambda: len(model.asked) == 1)
        model.mood = Mood.WELL
        assert handle.result(timeout=20)
        assert handle.tree()["plan"]["source"] == "model"


def test_nothing_but_prose_ends_in_the_fallback_plan(
    client: Client, model: FaultyModel, roster: Path
) -> None:
    model.mood = Mood.PROSE
    with worker_of(model, roster):
        handle = client.submit("Report about the mill and its visitors", plan=True)
        assert handle.result(timeout=20)
        assert handle.tree()["plan"]["source"] == "fallback"


def test_a_model_that_is_missing_is_pulled_before_its_queues_are_served(
    client: Client, model: FaultyModel, roster: Path
) -> None:
    model.missing = True
    handle = ask(client)
    with worker_of(model, roster, PULL="true") as worker:
        wait_until(lambda: f"is pulling {MODEL}: 40 %" in worker.text())
        report = inspect(worker)
        assert (report["gate"], report["pulling"]) == ("open", [MODEL])
        assert "agent.writer" in report["held_queues"]
        assert_others_run(client)
        assert model.asked == []
        model.pull_may_end.set()
        assert_unharmed(handle)
        wait_until(lambda: f"has {MODEL} loaded" in worker.text())
