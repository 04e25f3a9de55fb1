"""Fifty mixed runs, and then the figures of everybody who tells them agree to the last digit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from celery_app import MetricsCollector
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.observe.batch import MetricsBatch
from celery_app.observe.prometheus import exposition
from celery_app.testing.processes import wait_until
from tests.leftovers import OPEN, begin_anew, cancel_leftovers
from tests.observe.model import COLD, GENERATED_TOKENS, PROMPT_TOKENS, MeasuredModel
from tests.observe.runs import answer, mixed_runs
from tests.worker_process import WorkerProcess

MODEL = "smollm2:135m"
#: Figures of the moment that a look itself may change.
PASSING = ("at", "database_bytes")


@pytest.fixture(scope="module")
def model() -> Iterator[MeasuredModel]:
    with MeasuredModel(answer, seconds=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def told(client: Client, model: MeasuredModel) -> Iterator[MetricsBatch]:
    """What the collector tells after fifty runs."""
    from celery_app.celery import database, prepare

    prepare()
    cancel_leftovers(client)
    begin_anew()
    with WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{model.address}]"):
        mixed_runs(client)
        wait_until(lambda: not database.rows(OPEN), 30, lambda: f"open: {database.rows(OPEN)}")
        yield MetricsCollector().collect()


def document(batch: MetricsBatch) -> dict[str, Any]:
    found: dict[str, Any] = batch.model_dump(mode="json")
    for name in PASSING:
        del found["system"][name]
    return found


def sql(query: str) -> Any:
    from celery_app.celery import database

    return database.row(query)


def exposed() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of the exposition by its name and its labels."""
    families = text_string_to_metric_families(exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_specifications_own_call_gives_the_same(told: MetricsBatch) -> None:
    assert document(asyncio.run(MetricsCollector().collect_metrics())) == document(told)


def test_the_command_line_gives_the_same(told: MetricsBatch) -> None:
    done = CliRunner().invoke(cli, ["metrics", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert set(found) == {"system", "agents", "tasks", "resources"}
    for name in PASSING:
        del found["system"][name]
    assert found == document(told)


def test_tasks_are_as_sql_counts_them(told: MetricsBatch) -> None:
    rows = sql(
        "SELECT jsonb_object_agg(state, n) AS n FROM (SELECT state, count(*) AS n FROM task GROUP BY 1) x"
    )
    assert told.tasks.by_state == rows.n
    assert told.tasks.by_state["succeeded"] > 30
    assert told.tasks.by_state["cancelled"] >= 2
    assert told.tasks.by_state["skipped"] >= 4
    row = sql("SELECT sum(tries) AS tries, sum(attempts) AS attempts FROM task")
    assert told.tasks.attempts["retried"] == row.tries == 9
    # Approvals and steps of workflows apart, each start is an attempt, and each has ended.
    assert sum(told.tasks.attempts.values()) == row.attempts == told.tasks.duration.count


def test_agents_are_as_sql_counts_them(told: MetricsBatch) -> None:
    query = """
        SELECT count(*) FILTER (WHERE state = 'succeeded')::float / count(*) AS completion,
               count(*) FILTER (WHERE state = 'failed')::float / count(*) AS error,
               (SELECT extract(epoch FROM sum(ended_at - started_at))::float / count(*) FROM attempt
                 WHERE {agent}) AS response
          FROM task WHERE state IN ('succeeded', 'failed', 'cancelled') AND {agent}
    """
    agents = told.agents
    row = sql(query.format(agent="true"))
    assert (agents.task_completion_rate, agents.error_rate, agents.average_response_time) == tuple(
        row
    )
    assert agents.by_agent.keys() == {"writer", "analyst", "planner"} | agents.by_agent.keys()
    for name, figures in agents.by_agent.items():
        row = sql(query.format(agent=f"agent = '{name}'"))
        assert (
            figures.task_completion_rate, figures.error_rate, figures.average_response_time,
        ) == tuple(row), name  # fmt: skip
    assert agents.active_agents == 0


def test_models_are_as_sql_and_the_server_count_them(
    told: MetricsBatch, model: MeasuredModel
) -> None:
    found = told.resources.models[MODEL]
    row = sql("""
        SELECT count(*) AS calls, sum(prompt_tokens) AS prompt, sum(generated_tokens) AS generated,
               (sum(round(seconds * 1000000)) / 1000000)::float AS seconds FROM model_call
    """)
    assert (found.calls, found.prompt_tokens, found.generated_tokens) == tuple(row)[:3]
    assert found.duration.total == row.seconds
    assert found.calls == len(model.asked)
    assert found.cold_starts == 1
    assert found.load_seconds >= COLD / 1e9
    # As the server says: ten tokens in 40 ms, three in 20.
    assert found.prompt_tokens_per_second == pytest.approx(PROMPT_TOKENS / 0.04)
    assert found.generated_tokens_per_second == pytest.approx(GENERATED_TOKENS / 0.02)


def test_how_answers_came_out_is_counted(told: MetricsBatch) -> None:
    found = told.resources.models[MODEL]
    row = sql("""
        SELECT jsonb_object_agg(path, n) AS n
          FROM (SELECT path, count(*) AS n FROM answer GROUP BY path) AS paths
    """)
    assert {**found.answers, **found.refusals} == row.n
    assert found.answers["direct"] >= 2
    assert found.answers["extracted"] >= 1
    assert found.answers["repaired"] >= 2
    assert found.answers["failed"] >= 1
    assert found.refusals == {"overflow": 2}
    assert found.repair_rate == found.answers["repaired"] / sum(found.answers.values())


def test_waits_are_counted_by_queue_and_by_model(told: MetricsBatch) -> None:
    tasks, found = told.tasks, told.resources.models[MODEL]
    assert tasks.queue_wait.count == tasks.duration.count
    assert sum(queue.wait.count for queue in tasks.queues.values()) == tasks.queue_wait.count
    row = sql("""
        SELECT count(*) AS n, extract(epoch FROM sum(started_at - ready_at))::float AS seconds,
               percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - ready_at)) AS p95
          FROM attempt WHERE agent IS NOT NULL
    """)
    assert (found.queue_wait.count, found.queue_wait.total) == (row.n, row.seconds)
    assert found.queue_wait.p95 == float(row.p95)
    # The pause before a retry (two seconds) is no wait for a worker: that begins when it is over.
    pauses = sql("""
        SELECT count(*) AS n, min(pause) AS shortest
          FROM (SELECT ready_at - lag(ended_at) OVER (PARTITION BY task_id ORDER BY ended_at) AS pause
                  FROM attempt WHERE name = 'chore.fail') AS pauses
         WHERE pause IS NOT NULL
    """)
    assert pauses.n == 1
    assert pauses.shortest.total_seconds() > 1
    assert 0 <= found.idle_seconds <= found.demand_seconds
    assert found.demand_seconds >= found.duration.p50  # type: ignore[operator]


def test_prometheus_is_told_the_same(told: MetricsBatch) -> None:
    found = exposed()

    def value(name: str, **labels: str) -> float:
        return found[f"ai_agent_{name}", tuple(sorted(labels.items()))]

    agents = told.agents
    assert value("active_agents") == agents.active_agents
    assert value("task_completion_rate") == agents.task_completion_rate
    assert value("average_response_seconds") == agents.average_response_time
    assert value("error_rate") == agents.error_rate
    for name, figures in agents.by_agent.items():
        assert value("agent_completion_rate", agent=name) == figures.task_completion_rate
        assert value("agent_error_rate", agent=name) == figures.error_rate
        assert value("agent_average_response_seconds", agent=name) == figures.average_response_time
    for state, count in told.tasks.by_state.items():
        assert _total(found, "ai_agent_tasks", state=state) == count
    for outcome, count in told.tasks.attempts.items():
        assert _total(found, "ai_agent_attempts_total", outcome=outcome) == count
    assert _total(found, "ai_agent_attempt_duration_seconds_count") == told.tasks.duration.count
    for name, queue in told.tasks.queues.items():
        assert value("queue_wait_seconds_count", queue=name) == queue.wait.count
        assert value("queue_wait_seconds_sum", queue=name) == queue.wait.total
        assert value("queue_tasks", queue=name, state="waiting") == queue.waiting
    of_model = told.resources.models[MODEL]
    assert _total(found, "ai_agent_model_calls_total", model=MODEL) == of_model.calls
    assert value("model_call_seconds_sum", model=MODEL) == of_model.duration.total
    assert _total(found, "ai_agent_model_tokens_total", kind="prompt") == of_model.prompt_tokens
    assert _total(found, "ai_agent_model_cold_starts_total") == of_model.cold_starts
    assert value("model_idle_seconds_total", model=MODEL) == of_model.idle_seconds
    assert value("model_demand_seconds_total", model=MODEL) == of_model.demand_seconds
    assert value("model_repair_rate", model=MODEL) == of_model.repair_rate
    assert value("model_refusals_total", model=MODEL, reason="overflow") == 2


def _total(found: dict[Any, float], name: str, **labels: str) -> float:
    return sum(
        value
        for (sample, given), value in found.items()
        if sample == name and labels.items() <= dict(given).items()
    )


def test_the_buckets_of_histograms_are_as_sql_counts_them(told: MetricsBatch) -> None:
    found = exposed()
    within = {
        float(dict(labels)["le"]): value
        for (name, labels), value in found.items()
        if name == "ai_agent_model_call_seconds_bucket"
    }
    for bound, count in within.items():
        row = sql(f"SELECT count(*) AS n FROM model_call WHERE seconds <= '{bound}'::float")
        assert row.n == count, bound
    assert list(within.values()) == sorted(within.values())
    assert within[float("inf")] == told.resources.models[MODEL].calls


def test_labels_are_no_ids_and_no_words(told: MetricsBatch) -> None:
    values = {value for _, labels in exposed() for _, value in labels}
    row = sql("SELECT array_agg(id) AS ids FROM task")
    assert not {*row.ids} & values
    assert not [value for value in values if " " in value or len(value) > 60]
