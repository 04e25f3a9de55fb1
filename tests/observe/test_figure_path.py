"""Figures by their paths, as rules of alerts name them."""

from __future__ import annotations

import pytest

from celery_app.client import Client
from celery_app.errors import TaskFailed
from celery_app.observe.batch import AgentFigures, AgentMetrics, MetricsBatch
from celery_app.observe.figure_path import RecentFigures, checked_path, figure
from tests.worker_process import WorkerProcess

BATCH = MetricsBatch(
    agents=AgentMetrics(error_rate=0.25, by_agent={"writer": AgentFigures(active_agents=2)})
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("agents.error_rate", 0.25),
        ("agents.by_agent.writer.active_agents", 2.0),
        ("agents.by_agent.nobody.active_agents", None),
        ("tasks.by_state.failed", None),
        ("system.expired_leases", 0.0),
        ("agents.by_agent", None),
    ],
)
def test_a_figure_is_found_by_its_path(path: str, value: float | None) -> None:
    assert figure(BATCH, checked_path(path)) == value


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("agents.eror_rate", "there is no eror_rate; there are active_agents"),
        ("agents.by_agent.writer.speed", "there is no speed"),
        ("agents.tasks.more", "goes on where there is a figure already"),
        ("", "there is no ; there are system, agents"),
    ],
)
def test_where_there_can_be_no_figure_the_path_is_refused(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked_path(path)


def test_what_failed_just_now_counts(client: Client, worker: WorkerProcess) -> None:
    before = RecentFigures()("tasks.by_state.failed") or 0.0
    with pytest.raises(TaskFailed):
        client.submit_graph([{"task": "chore.fail", "args": ["no"]}]).result(timeout=30)
    after = RecentFigures()
    assert (after("tasks.by_state.failed") or 0.0) > before
    assert after("agents.error_rate") is not None
