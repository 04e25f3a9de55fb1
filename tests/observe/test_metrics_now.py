"""What is told of a system at work: who holds leases, what runs, what waits, and a model without work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_app import MetricsCollector
from celery_app.client import Client
from celery_app.postgres.connection import Database
from celery_app.store.figures import Demand
from celery_app.store.measuring import FigureStore
from celery_app.testing.processes import wait_until
from tests.observe.model import MeasuredModel
from tests.worker_process import WorkerProcess


@pytest.fixture
def slow_model() -> Iterator[MeasuredModel]:
    with MeasuredModel(lambda *_: "It is so.", seconds=30) as server:
        yield server


def test_an_agent_is_active_while_it_holds_a_lease(
    client: Client, slow_model: MeasuredModel
) -> None:
    with WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{slow_model.address}]"):
        handle = client.submit("Say whether it is so.", plan=False, agent="reviewer")
        wait_until(lambda: handle.state == "running", 30, "it runs")
        batch = MetricsCollector().collect()
        handle.cancel()
        after = MetricsCollector().collect()
    agents = batch.agents
    assert agents.active_agents == 1
    assert [name for name, each in agents.by_agent.items() if each.active_agents] == ["reviewer"]
    assert (batch.system.workers, batch.system.live_leases) == (1, 1)
    assert batch.tasks.queues["agent.reviewer"].running == 1
    assert batch.resources.quotas["cpu:reviewer"].taken > 0
    assert (after.agents.active_agents, after.system.live_leases) == (0, 0)
    assert after.tasks.attempts["cancelled"] == batch.tasks.attempts.get("cancelled", 0) + 1


def test_a_task_that_nobody_takes_waits(client: Client) -> None:
    handle = client.submit_graph([{"task": "chore.echo", "args": [1], "description": "wait"}])
    before = MetricsCollector().collect().tasks.queues["tasks"]
    wait_until(
        lambda: (
            MetricsCollector().collect().tasks.queues["tasks"].oldest_seconds
            > before.oldest_seconds
        ),
        10,
        "it grows older",
    )
    assert before.waiting >= 1
    handle.cancel()


def idle(database: Database) -> Demand:
    (demand,) = FigureStore(database).read({"writer": "m"}).demands
    return demand


def put_attempt(database: Database, ready: float, started: float, ended: float) -> None:
    """Note an attempt of the writer; moments are seconds after one moment."""
    database.rows(
        """
        INSERT INTO attempt (task_id, name, agent, queue, outcome, ready_at, started_at, ended_at)
        SELECT 't', 'task.run', 'writer', 'agent.writer', 'succeeded', at + :ready * second,
               at + :started * second, at + :ended * second
          FROM (SELECT now() - interval '1 h' AS at, interval '1 s' AS second) AS begin
        """,
        ready=ready,
        started=started,
        ended=ended,
    )


def put_call(database: Database, begun: float, ended: float) -> None:
    """Note a call of the model in the same way."""
    database.rows(
        """
        INSERT INTO model_call (task_id, try, number, digest, model, host, at, seconds, prompt_tokens,
                                generated_tokens, reply)
        SELECT 't', 0, (SELECT count(*) FROM model_call), '', 'm', 'h',
               now() - interval '1 h' + :ended * interval '1 s', :seconds, 0, 0, ''
        """,
        ended=ended,
        seconds=ended - begun,
    )


def test_a_model_is_idle_while_a_task_waits_and_no_call_is_under_way(empty: Database) -> None:
    def forget() -> None:
        empty.rows("TRUNCATE attempt, model_call")

    # One waits 10 s, is called for from 12 to 20; another waits from 15 to 30 meanwhile, until 40.
    put_attempt(empty, 0, 10, 21)
    put_attempt(empty, 15, 30, 41)
    put_call(empty, 12, 20)
    put_call(empty, 30, 40)
    found = idle(empty)
    assert found.idle_seconds == pytest.approx(10 + 10, abs=0.5)
    assert found.demand_seconds == pytest.approx(10 + 8 + 10 + 10, abs=0.5)
    forget()
    # Nobody waits: it is busy, and never idle.
    put_attempt(empty, 5, 5, 9)
    put_call(empty, 5, 9)
    assert idle(empty).idle_seconds == 0
    assert idle(empty).demand_seconds == pytest.approx(4, abs=0.5)
    forget()
    # Two wait together: their time counts once.
    put_attempt(empty, 0, 4, 6)
    put_attempt(empty, 2, 4, 6)
    assert idle(empty).idle_seconds == pytest.approx(4, abs=0.5)
