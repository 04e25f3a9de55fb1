"""Figures of the whole system, read from its tables by one statement.

Invariants
  * All figures of a reading are of one moment: they come from one snapshot.
  * Sums are exact, whatever order their rows are read in, so that two readings of the same rows agree to
    the last digit.
  * No figure costs a query for each agent, model or queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from celery_app.postgres.connection import Database
from celery_app.store.figures import (
    CALL_BOUNDS,
    COLD_SECONDS,
    DURATION_BOUNDS,
    WAIT_BOUNDS,
    Calls,
    Demand,
    Figures,
    Now,
    QueueNow,
    QuotaNow,
    Spread,
    Tasks,
)

__all__ = ["FigureStore"]

#: Quotas that the settings name. Those of keys and of steps have names without number.
_KINDS_OF_QUOTAS = "^(cpu|memory)(:|$)|^(model|agent):"


def _within(name: str, bounds: Sequence[float]) -> str:
    counts = ", ".join(f"count(*) FILTER (WHERE {name} <= {bound})" for bound in bounds)
    return f"ARRAY[{counts}]"


def _sum(name: str) -> str:
    """Add up whole microseconds: floating point numbers give another sum in another order."""
    return f"sum(({name} * 1e6)::bigint) / 1e6"


def _percentiles(name: str) -> str:
    return f"percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY {name})"


def _list(query: str) -> str:
    return f"(SELECT coalesce(jsonb_agg(found), '[]') FROM ({query}) AS found)"


_MATERIAL = """
WITH asked AS (
    SELECT coalesce(CAST(:since AS timestamptz), '-infinity') AS since, clock_timestamp() AS now
), roster AS (
    SELECT * FROM unnest(CAST(:agents AS text[]), CAST(:models AS text[])) AS r (agent, model)
), ended AS MATERIALIZED (
    SELECT a.agent, a.queue, r.model, a.outcome, a.ready_at, a.started_at,
           a.started_at - a.ready_at AS wait, a.ended_at - a.started_at AS duration,
           extract(epoch FROM a.started_at - a.ready_at)::double precision AS waited,
           extract(epoch FROM a.ended_at - a.started_at)::double precision AS seconds
      FROM attempt a LEFT JOIN roster r ON r.agent = a.agent
     WHERE a.ended_at >= (SELECT since FROM asked)
), said AS MATERIALIZED (
    SELECT c.model, c.host, c.at, c.seconds, c.prompt_tokens, c.generated_tokens,
           coalesce(c.load_seconds, 0) AS load_seconds, coalesce(c.prompt_seconds, 0) AS prompt_seconds,
           coalesce(c.generate_seconds, 0) AS generate_seconds
      FROM model_call c WHERE c.at >= (SELECT since FROM asked)
), alive AS MATERIALIZED (
    SELECT t.agent, r.model, t.queue, t.state, t.owner, t.lease_until > asked.now AS live, t.started_at,
           t.state = 'queued' AND (t.due_at IS NULL OR t.due_at <= asked.now) AS ready,
           GREATEST(t.queued_at, t.due_at) AS ready_at, t.waits_for, t.risk, t.deadline
      FROM asked, task t LEFT JOIN roster r ON r.agent = t.agent
     WHERE t.state IN ('pending', 'queued', 'running', 'waiting', 'expanded')
), waiting AS (
    SELECT model, range_agg(tstzrange(GREATEST(since, ready_at), started_at)) AS spans
      FROM asked, (SELECT model, ready_at, started_at FROM ended
                   UNION ALL
                   SELECT model, ready_at, (SELECT now FROM asked) FROM alive
                    WHERE ready AND ready_at <= (SELECT now FROM asked)) AS w
     WHERE model IS NOT NULL AND started_at >= since GROUP BY model
), busy AS (
    SELECT model, range_agg(tstzrange(GREATEST(since, started_at), ended_at)) AS spans
      FROM asked, (SELECT model, at - make_interval(secs => seconds) AS started_at, at AS ended_at FROM said
                   UNION ALL
                   SELECT model, started_at, (SELECT now FROM asked) FROM alive
                    WHERE state = 'running' AND started_at <= (SELECT now FROM asked)) AS b
     WHERE model IS NOT NULL GROUP BY model
)
"""

#: What is made of it: each a list of objects.
_PARTS = {
    "tasks": """
        SELECT t.agent, t.state, count(*) AS count FROM task t, asked
         WHERE t.finished_at IS NULL OR t.finished_at >= asked.since GROUP BY t.agent, t.state
    """,
    "attempts": """
        SELECT agent, outcome, count(*) AS count FROM ended GROUP BY agent, outcome
    """,
    "spreads": f"""
        SELECT CASE WHEN grouping(queue) = 0 THEN 'queue' WHEN grouping(model) = 0 THEN 'model'
                    WHEN grouping(agent) = 0 THEN 'agent' ELSE 'all' END AS kind,
               coalesce(queue, model, agent, '') AS name, count(*) AS count,
               coalesce(extract(epoch FROM sum(wait)), 0) AS waited,
               coalesce(extract(epoch FROM sum(duration)), 0) AS seconds,
               {_percentiles("waited")} AS wait_percentiles, {_percentiles("seconds")} AS percentiles,
               {_within("waited", WAIT_BOUNDS)} AS wait_within,
               {_within("seconds", DURATION_BOUNDS)} AS within
          FROM ended GROUP BY GROUPING SETS ((), (queue), (model), (agent))
    """,
    "calls": f"""
        SELECT model, host, count(*) AS count, sum(prompt_tokens) AS prompt_tokens,
               sum(generated_tokens) AS generated_tokens,
               coalesce(sum(prompt_tokens) FILTER (WHERE prompt_seconds > 0), 0) AS timed_prompt_tokens,
               coalesce(sum(generated_tokens) FILTER (WHERE generate_seconds > 0), 0)
                   AS timed_generated_tokens,
               {_sum("load_seconds")} AS load_seconds, {_sum("prompt_seconds")} AS prompt_seconds,
               {_sum("generate_seconds")} AS generate_seconds,
               count(*) FILTER (WHERE load_seconds >= {COLD_SECONDS}) AS cold_starts
          FROM said GROUP BY model, host
    """,
    "call_spreads": f"""
        SELECT model AS name, count(*) AS count, {_sum("seconds")} AS seconds,
               {_percentiles("seconds")} AS percentiles, {_within("seconds", CALL_BOUNDS)} AS within
          FROM said GROUP BY model
    """,
    "answers": """
        SELECT model, path, count(*) AS count FROM answer
         WHERE at >= (SELECT since FROM asked) GROUP BY model, path
    """,
    "queues": """
        SELECT queue, count(*) FILTER (WHERE ready) AS waiting,
               count(*) FILTER (WHERE state = 'running') AS running,
               coalesce(GREATEST(0, extract(epoch FROM max(asked.now - ready_at) FILTER (WHERE ready))), 0)
                   AS oldest_seconds
          FROM alive, asked WHERE state IN ('queued', 'running') GROUP BY queue
    """,
    "demands": """
        SELECT model, length_of(coalesce(b.spans, '{}')) + idle AS demand_seconds, idle AS idle_seconds
          FROM waiting w FULL JOIN busy b USING (model)
         CROSS JOIN length_of(coalesce(w.spans, '{}') - coalesce(b.spans, '{}')) AS idle
    """,
    "leases": """
        SELECT agent, count(*) AS count FROM alive
         WHERE agent IS NOT NULL AND state = 'running' AND live GROUP BY agent
    """,
    "quotas": """
        SELECT q.name, q.capacity, q.capacity - r.room AS taken
          FROM quota q JOIN quota_room() r ON r.name = q.name
         WHERE q.capacity IS NOT NULL AND q.name ~ :kinds_of_quotas
    """,
    "now": """
        SELECT count(DISTINCT owner) FILTER (WHERE state = 'running' AND live) AS workers,
               count(*) FILTER (WHERE state = 'running' AND live) AS live_leases,
               count(*) FILTER (WHERE state = 'running' AND NOT live) AS expired_leases,
               (SELECT count(*) FROM approval WHERE answered_at IS NULL) AS open_approvals,
               count(*) FILTER (WHERE state = 'waiting' AND waits_for = 'budget') AS budget_waits,
               count(*) FILTER (WHERE risk IS NOT NULL) AS at_risk,
               count(*) FILTER (WHERE deadline < asked_now) AS overdue,
               pg_database_size(current_database()) AS database_bytes
          FROM (SELECT *, (SELECT now FROM asked) AS asked_now FROM alive) AS stands
    """,
}

_STATEMENT = (
    _MATERIAL
    + "SELECT jsonb_build_object("
    + ", ".join(f"'{name}', {_list(query)}" for name, query in _PARTS.items())
    + ") AS found, (SELECT now FROM asked) AS at"
)


class FigureStore:
    """Reads figures from the tables of tasks, attempts, model calls and answers.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def read(self, models: Mapping[str, str], since: datetime | None = None) -> Figures:
        """Return all figures.

        Args:
            models: The model of each agent by its name, for what waits for a model.
            since: Leave out what ended before; by default nothing.
        """
        row = self.database.row(
            _STATEMENT,
            since=since,
            agents=list(models),
            models=list(models.values()),
            kinds_of_quotas=_KINDS_OF_QUOTAS,
        )
        return _figures(row.found, row.at)


def _figures(found: Mapping[str, Any], at: datetime) -> Figures:
    spreads = {(each["kind"], each["name"]): each for each in found["spreads"]}
    return Figures(
        Now(at=at, **found["now"][0]),
        tasks=tuple(Tasks(**each) for each in found["tasks"]),
        attempts={(each["agent"], each["outcome"]): each["count"] for each in found["attempts"]},
        waits={
            key: _spread(each, "waited", "wait_percentiles", "wait_within")
            for key, each in spreads.items()
        },
        durations={key: _spread(each) for key, each in spreads.items()},
        calls=tuple(Calls(**each) for each in found["calls"]),
        call_durations={each["name"]: _spread(each) for each in found["call_spreads"]},
        answers={(each["model"], each["path"]): each["count"] for each in found["answers"]},
        queues=tuple(QueueNow(**each) for each in found["queues"]),
        demands=tuple(Demand(**each) for each in found["demands"]),
        leases={each["agent"]: each["count"] for each in found["leases"]},
        quotas=tuple(QuotaNow(**each) for each in found["quotas"]),
    )


def _spread(
    row: Mapping[str, Any],
    total: str = "seconds",
    percentiles: str = "percentiles",
    within: str = "within",
) -> Spread:
    half, most, nearly_all = row[percentiles] or (None, None, None)
    return Spread(row["count"], row[total], (half, most, nearly_all), tuple(row[within]))
