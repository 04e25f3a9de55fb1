"""How metrics look on a terminal: a few lines, the charts, and a table each for agents, queues and models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from celery_app.cli.chart import spark
from celery_app.cli.screen import print_pairs, print_table
from celery_app.observe.batch import AgentFigures, MetricsBatch
from celery_app.observe.series import series

__all__ = ["CHARTS_SECONDS", "print_metrics"]

CHARTS_SECONDS = 3600.0
_WIDTH = 48

Samples = Sequence[tuple[datetime, MetricsBatch]]


def print_metrics(
    batch: MetricsBatch, samples: Samples, since: datetime, until: datetime, agent: str | None
) -> None:
    """Print a batch, with charts of the samples between two moments; of one agent, or of all."""
    print_pairs(_summary(batch))
    click.echo()
    print_pairs(_charts(samples, since, until))
    _print_agents(batch, [] if agent else [("all", batch.agents)])
    _print_queues(batch)
    _print_models(batch)


def _summary(batch: MetricsBatch) -> list[tuple[str, Any]]:
    system, tasks = batch.system, batch.tasks
    return [
        ("system", f"{system.name} {system.version}"),
        ("since", system.since.isoformat(timespec="seconds") if system.since else None),
        ("at work", f"{system.workers} worker processes, {system.live_leases} tasks"),
        ("tasks", _counts(tasks.by_state) or "none"),
        ("attempts", _counts(tasks.attempts)),
        ("duration", _spread(tasks.duration)),
        ("queue wait", _spread(tasks.queue_wait)),
        (
            "tokens",
            f"{batch.resources.prompt_tokens} read, {batch.resources.generated_tokens} written",
        ),
        ("deadlines", _deadlines(batch)),
        ("questions", f"{system.open_approvals} open" if system.open_approvals else None),
        ("budgets", f"{system.budget_waits} tasks wait" if system.budget_waits else None),
        ("limits", _limits(batch)),
        ("database", f"{system.database_bytes / 2**20:.1f} MiB"),
    ]


def _charts(samples: Samples, since: datetime, until: datetime) -> list[tuple[str, str]]:
    if not samples:
        return [
            ("charts", "no samples of this time: beat takes them (`ai-agent beat`, `ai-agent up`)")
        ]
    charts = series(samples, since, until, _WIDTH)
    return [(name, f"{spark(values)}  most {_most(values)}") for name, values in charts.items()]


def _most(values: Sequence[float | None]) -> str:
    return f"{max((value for value in values if value is not None), default=0):.4g}"


def _print_agents(batch: MetricsBatch, above: Sequence[tuple[str, AgentFigures]]) -> None:
    rows = [_agent(name, figures) for name, figures in (*above, *batch.agents.by_agent.items())]
    click.echo()
    print_table(("agent", "active", "tasks", "completed", "failed", "response"), rows)


def _agent(name: str, figures: AgentFigures) -> tuple[Any, ...]:
    return (
        name, figures.active_agents, figures.tasks, _percent(figures.task_completion_rate),
        _percent(figures.error_rate), _seconds(figures.average_response_time),
    )  # fmt: skip


def _print_queues(batch: MetricsBatch) -> None:
    rows = [
        (name, queue.waiting, queue.running, _seconds(queue.oldest_seconds), _seconds(queue.wait.p50),
         _seconds(queue.wait.p95))
        for name, queue in batch.tasks.queues.items()
    ]  # fmt: skip
    if rows:
        click.echo()
        print_table(("queue", "waiting", "running", "oldest", "wait p50", "wait p95"), rows)


def _print_models(batch: MetricsBatch) -> None:
    rows = [
        (name, model.calls, _seconds(model.duration.p50), _seconds(model.duration.p95),
         _rate(model.prompt_tokens_per_second), _rate(model.generated_tokens_per_second),
         model.cold_starts, _seconds(model.queue_wait.p95), _percent(model.repair_rate),
         sum(model.refusals.values()), _percent(model.idle_share))
        for name, model in batch.resources.models.items()
    ]  # fmt: skip
    if rows:
        click.echo()
        print_table(
            ("model", "calls", "p50", "p95", "read/s", "write/s", "cold", "wait p95", "repaired",
             "refused", "idle"),
            rows,
        )  # fmt: skip


def _spread(spread: Any) -> str | None:
    if not spread.count:
        return None
    shares = ", ".join(
        f"{name} {_seconds(getattr(spread, name))}" for name in ("p50", "p95", "p99")
    )
    return f"{_seconds(spread.average)} on average, {shares}"


def _deadlines(batch: MetricsBatch) -> str | None:
    tasks = batch.tasks
    if not tasks.at_risk and not tasks.overdue:
        return None
    return f"{tasks.at_risk} at risk, {tasks.overdue} missed"


def _limits(batch: MetricsBatch) -> str | None:
    taken = (
        f"{name} {quota.taken:g} of {quota.capacity:g}"
        for name, quota in batch.resources.quotas.items()
        if quota.taken and not name.startswith("memory")
    )
    return ", ".join(taken) or None


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"
