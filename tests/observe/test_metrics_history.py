"""Samples: one for each interval however many take them, one for each hour of what is older, then none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from celery_app import MetricsCollector
from celery_app.cli.chart import spark
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.observe.batch import (
    AgentMetrics,
    MetricsBatch,
    QueueMetrics,
    SystemMetrics,
    TaskMetrics,
    rolled_up,
)
from celery_app.observe.series import means, steps
from celery_app.postgres.connection import Database
from celery_app.store.metrics import MetricsStore
from celery_app.testing.processes import wait_until
from tests.worker_process import WorkerProcess

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def batch(ended: int, waiting: int, rate: float | None = None) -> MetricsBatch:
    tasks = TaskMetrics(
        attempts={"succeeded": ended}, queues={"tasks": QueueMetrics(waiting=waiting)}
    )
    return MetricsBatch(
        system=SystemMetrics(workers=1), agents=AgentMetrics(task_completion_rate=rate), tasks=tasks
    )


@pytest.fixture
def no_samples(client: Client) -> Iterator[None]:
    """Nothing was sampled yet."""
    from celery_app.celery import database, prepare

    prepare()
    database.rows("DELETE FROM metric_sample")
    yield
    database.rows("DELETE FROM metric_sample")


def slots() -> list[datetime]:
    from celery_app.celery import database

    return [row.slot for row in database.rows("SELECT slot FROM metric_sample ORDER BY slot")]


@pytest.mark.usefixtures("no_samples")
def test_an_interval_has_one_sample_however_many_take_it() -> None:
    taken: list[bool] = []
    together = threading.Barrier(6)

    def take() -> None:
        together.wait(10)
        taken.append(MetricsCollector().sample(86400, 30))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == [False] * 5 + [True]
    assert len(slots()) == 1
    assert not MetricsCollector().sample(86400, 30)


@pytest.mark.usefixtures("no_samples")
def test_what_two_beats_send_is_sampled_once_for_each_interval(tmp_path: Path) -> None:
    with WorkerProcess(AI_AGENT__MONITORING__METRICS__INTERVAL="1"):
        beats = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_app", "beat",
                 "--schedule", f"{tmp_path}/beat{number}", "--pidfile", f"{tmp_path}/pid{number}"],
                env={**os.environ, "AI_AGENT__MONITORING__METRICS__INTERVAL": "1"},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for number in range(2)
        ]  # fmt: skip
        try:
            wait_until(lambda: len(slots()) >= 3, 60, "three samples were taken")
        finally:
            for beat in beats:
                beat.terminate()
            for beat in beats:
                beat.wait(20)
    found = slots()
    assert len(found) == len(set(found))
    assert all(slot.microsecond == 0 for slot in found)


def test_the_samples_of_an_old_hour_become_one(empty: Database) -> None:
    store = MetricsStore(empty)
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
    for minute, (ended, waiting) in enumerate([(5, 0), (9, 4), (9, 2)]):
        moment = begin + timedelta(minutes=10 * minute)
        assert store.keep(moment, batch(ended, waiting, 0.5 + minute / 10).model_dump(mode="json"))
    fresh = datetime.now(UTC) - timedelta(minutes=5)
    store.keep(fresh, batch(10, 1).model_dump(mode="json"))
    (hour,) = store.full_hours(24)
    bodies = [MetricsBatch.model_validate(sample.body) for sample in hour]
    store.roll_up(hour, rolled_up(bodies).model_dump(mode="json"))
    assert store.full_hours(24) == []
    first, second = store.history(begin)
    assert (first.slot, second.slot) == (begin, fresh)
    kept = MetricsBatch.model_validate(first.body)
    # The mean of what was of the moment, the last of what sums up.
    assert kept.tasks.queues["tasks"].waiting == 2
    assert kept.tasks.attempts == {"succeeded": 9}
    assert kept.agents.task_completion_rate == 0.7


def test_an_hour_is_rolled_up_once_however_many_do_it(empty: Database) -> None:
    store = MetricsStore(empty)
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
    store.keep(begin, batch(1, 1).model_dump(mode="json"))
    (hour,) = store.full_hours(24)
    store.roll_up(hour, batch(1, 1).model_dump(mode="json"))
    store.roll_up(hour, batch(77, 77).model_dump(mode="json"))
    (only,) = store.history(begin)
    assert MetricsBatch.model_validate(only.body).tasks.attempts == {"succeeded": 1}


def test_what_is_older_than_its_retention_is_deleted(empty: Database) -> None:
    store = MetricsStore(empty)
    now = datetime.now(UTC)
    for days in (40, 31, 29, 1):
        store.keep(now - timedelta(days=days), {})
    store.prune(30)
    assert len(store.history(now - timedelta(days=100))) == 2


def test_a_chart_has_a_bar_for_each_part_of_the_time() -> None:
    samples = [
        (NOON + timedelta(minutes=minute), value) for minute, value in enumerate((3, 3, 7, 8))
    ]
    end = NOON + timedelta(minutes=8)
    grown = steps(samples, float, NOON, end, 8)
    assert grown == [None, 0, 4, 1, None, None, None, None]
    assert spark(grown) == "·▁█▃····"
    assert means(samples, float, NOON, end, 4) == [3, 7.5, None, None]
    assert spark([]) == ""
    assert spark([None, 0.0]) == "·▁"


@pytest.mark.usefixtures("no_samples")
def test_the_command_draws_charts_of_the_time_that_is_asked_for() -> None:
    store = MetricsCollector().metrics_store
    now = datetime.now(UTC)
    for minutes, ended in ((50, 0), (40, 10), (20, 30)):
        body = batch(ended, ended).model_dump(mode="json")
        store.keep(now - timedelta(minutes=minutes), body)
    shown = CliRunner().invoke(cli, ["metrics", "--since", "1h"])
    assert shown.exit_code == 0, shown.output
    (waiting,) = [line for line in shown.stdout.splitlines() if line.startswith("waiting")]
    assert waiting.endswith("most 30")
    assert waiting.count("█") == 1
    # The samples of the last quarter of an hour: none.
    shown = CliRunner().invoke(cli, ["metrics", "--since", "15m"])
    assert "no samples of this time" in shown.stdout


@pytest.mark.usefixtures("no_samples")
def test_the_command_sums_up_what_ended_in_the_time_that_is_asked_for(client: Client) -> None:
    from celery_app.celery import database

    database.rows(
        """
        INSERT INTO attempt (task_id, name, queue, outcome, ready_at, started_at, ended_at)
        VALUES ('old', 'chore.echo', 'tasks', 'succeeded', now() - interval '3 d', now() - interval '3 d',
                now() - interval '2 d')
        """
    )
    all_, recent = (
        json.loads(CliRunner().invoke(cli, ["metrics", "--json", *more]).stdout)["tasks"][
            "attempts"
        ]
        for more in ((), ("--since", "1d"))
    )
    assert all_["succeeded"] == recent.get("succeeded", 0) + 1
    database.rows("DELETE FROM attempt WHERE task_id = 'old'")


def test_the_command_shows_one_agent(client: Client) -> None:
    done = CliRunner().invoke(cli, ["metrics", "--agent", "writer", "--json"])
    agents = json.loads(done.stdout)["agents"]
    four = ("active_agents", "task_completion_rate", "average_response_time", "error_rate")
    assert {*four} < agents.keys()
    assert list(agents["by_agent"]) == ["writer"]
    assert {name: agents[name] for name in four} == {
        name: agents["by_agent"]["writer"][name] for name in four
    }
    assert "writer" in CliRunner().invoke(cli, ["metrics", "--agent", "writer"]).stdout


def test_an_agent_that_there_is_not_is_refused_with_those_there_are(client: Client) -> None:
    done = CliRunner().invoke(cli, ["metrics", "--agent", "wirter"], standalone_mode=True)
    assert done.exit_code == 2
    assert "there is no agent 'wirter'" in done.stderr
    assert "writer" in done.stderr
