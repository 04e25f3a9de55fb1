"""`ai-agent metrics`: how agents, tasks, queues and models do, and did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from celery_app.cli import options

if TYPE_CHECKING:
    from celery_app.observe.batch import MetricsBatch

__all__ = ["metrics"]


@click.command()
@click.option(
    "--since",
    "seconds",
    type=options.SECONDS,
    help="Sum up only what ended in this time, such as 15m or 2d, and show its charts; by default "
    "everything, with the charts of the last hour.",
)
@click.option("--agent", metavar="NAME", help="Show this agent's figures instead of all agents'.")
@options.as_json
def metrics(seconds: float | None, agent: str | None, as_json: bool) -> None:
    """Show how agents, tasks, queues and models do.

    Charts are drawn from the samples that beat has taken each monitoring.metrics.interval seconds.
    docs/metrics.md says what each figure means.

    \b
    Examples:
      ai-agent metrics
      ai-agent metrics --since 1h --agent writer
      ai-agent metrics --json | jq .agents.task_completion_rate
    """
    from datetime import UTC, datetime, timedelta

    from celery_app.cli.screen import print_json
    from celery_app.cli.system import prepare

    prepare()
    from celery_app.celery import guard
    from celery_app.cli.metrics_sheet import CHARTS_SECONDS, print_metrics
    from celery_app.observe.metrics_collector import MetricsCollector

    guard().require("system.read", "system:metrics")
    now = datetime.now(UTC)
    collector = MetricsCollector(now - timedelta(seconds=seconds) if seconds else None)
    batch = collector.collect()
    if agent is not None:
        batch = _narrowed(batch, agent)
    if as_json:
        print_json(batch.model_dump(mode="json"))
        return
    begin = now - timedelta(seconds=seconds or CHARTS_SECONDS)
    print_metrics(batch, collector.history(begin), begin, now, agent)


def _narrowed(batch: MetricsBatch, agent: str) -> MetricsBatch:
    """Return the batch with the figures of one agent in the place of those of all.

    Raises:
        UnknownAgent: There is none of this name.
    """
    from agents.errors import UnknownAgent
    from celery_app.celery import agent_manager
    from celery_app.observe.batch import AgentFigures, AgentMetrics

    known = {profile.name for profile in agent_manager().profiles} | batch.agents.by_agent.keys()
    if agent not in known:
        raise UnknownAgent(f"there is no agent {agent!r}: known are {', '.join(sorted(known))}")
    figures = batch.agents.by_agent.get(agent, AgentFigures())
    agents = AgentMetrics(**figures.model_dump(), by_agent={agent: figures})
    return batch.model_copy(update={"agents": agents})
