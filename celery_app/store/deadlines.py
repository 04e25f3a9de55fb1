"""Runs with a deadline, as far as they are not over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from celery_app.postgres.connection import Database

#: At most so many runs are looked at in one pass, those with the nearest deadlines.
_RUNS = 100


@dataclass(frozen=True)
class OpenTask:
    """A task that is not over, of a run that has a deadline somewhere.

    Attributes:
        work: What its duration depends on: its Celery task and its agent.
        elapsed: Seconds for which it has been running; 0 if it does not.
        left: Seconds until its own deadline, if it has one; negative when that has passed.
        risk: What was last told of it.
        needs: The tasks that it waits for and that are not over.
    """

    id: str
    root_id: str
    work: tuple[str, str | None]
    elapsed: float
    left: float | None
    risk: str | None
    needs: list[str]


class DeadlineStore:
    """Reads what is open and how long such work has taken; notes what is at risk.

    Args:
        database: Where tasks live.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def open_tasks(self) -> list[OpenTask]:
        """Return the open tasks of all runs in which a task has a deadline."""
        rows = self.database.rows(
            """
            WITH runs AS (
                SELECT root_id FROM task
                 WHERE deadline IS NOT NULL
                   AND state IN ('pending', 'queued', 'running', 'waiting', 'expanded')
                 GROUP BY root_id ORDER BY min(deadline) LIMIT :runs
            )
            SELECT t.id, t.root_id, t.name, t.agent, t.risk,
                   CASE WHEN t.state = 'running' THEN extract(epoch FROM clock_timestamp() - t.started_at)
                        ELSE 0 END::float AS elapsed,
                   extract(epoch FROM t.deadline - clock_timestamp())::float AS left_,
                   ARRAY(SELECT e.task_id FROM edge e WHERE e.body_id = t.id AND e.satisfied IS NULL) AS needs
              FROM task t JOIN runs USING (root_id)
             WHERE t.state IN ('pending', 'queued', 'running', 'waiting', 'expanded')
             ORDER BY t.root_id
            """,
            runs=_RUNS,
        )
        return [
            OpenTask(
                row.id,
                row.root_id,
                (row.name, row.agent),
                row.elapsed,
                row.left_,
                row.risk,
                row.needs,
            )
            for row in rows
        ]

    def durations(self) -> dict[tuple[str, str | None], float]:
        """Return how many seconds tasks of each kind have taken on average in the last week.

        A planned task counts as a whole, under ``task.plan``.
        """
        rows = self.database.rows(
            """
            SELECT CASE WHEN name = 'task.collect' AND agent IS NOT NULL THEN 'task.plan'
                        ELSE name END AS name,
                   agent, avg(extract(epoch FROM finished_at - started_at))::float AS seconds
              FROM task
             WHERE state = 'succeeded' AND finished_at > clock_timestamp() - interval '7 days'
             GROUP BY 1, 2
            """
        )
        return {(row.name, row.agent): row.seconds for row in rows}

    def note(self, risks: Mapping[str, tuple[str, str | None]]) -> None:
        """Keep what was found of tasks: by id, their run and the risk (None: no more).

        What is at risk becomes an event of the run.
        """
        self.database.rows(
            """
            WITH found AS (
                SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:roots AS text[]), CAST(:risks AS text[]))
                           AS f (id, root_id, risk)
            ), noted AS (
                INSERT INTO event (task_id, root_id, kind)
                SELECT f.id, f.root_id, 'at-risk' FROM found f WHERE f.risk IS NOT NULL
            )
            UPDATE task SET risk = found.risk FROM found WHERE task.id = found.id
            """,
            ids=list(risks),
            roots=[root for root, _ in risks.values()],
            risks=[risk for _, risk in risks.values()],
        )
