"""`ProjectWatch`: what alerts are told of projects, within a look's transaction.

Invariant: all projects are looked at by one statement, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from workflows.project import ProjectAlerts

__all__ = ["ProjectWatch", "Used", "WatchedProject"]

#: A failed task counts as long as a goal without a result waits behind it: a goal that is worked on again
#: waits for the tasks of another run.
_ALL = """
    WITH RECURSIVE behind (failed, id) AS (
        SELECT DISTINCT t.id, t.id FROM goal g JOIN task t ON t.root_id = g.run_id
         WHERE g.state IN ('running', 'failed') AND t.state = 'failed' AND t.id <> t.root_id
        UNION
        SELECT b.failed, e.body_id FROM behind b JOIN edge e ON e.task_id = b.id
    ), counted AS (
        SELECT g.project_id, count(DISTINCT b.failed) AS n FROM behind b JOIN goal g ON g.task_id = b.id
         WHERE g.state IN ('running', 'failed') GROUP BY g.project_id
    )
    SELECT p.name, p.alerts, coalesce(c.n, 0) AS failed, b.tokens, b.calls, b.seconds,
           b.used_tokens, b.used_calls, b.used_seconds
      FROM project p LEFT JOIN counted c ON c.project_id = p.id
      LEFT JOIN budget b ON b.id = 'project:' || p.name
     ORDER BY p.name
"""


@dataclass(frozen=True)
class Used:
    """A limit of a project's budget (`tokens`, `calls` or `seconds`), and what is used of it."""

    what: str
    used: float
    limit: float


@dataclass(frozen=True)
class WatchedProject:
    """From where on somebody is to be told of a project, and how it stands: the limits of its budget, and
    how many failed tasks keep its goals from being reached."""

    name: str
    alerts: ProjectAlerts
    budget: list[Used]
    failed_tasks: int


class ProjectWatch:
    """Reads.

    Args:
        connection: The transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[WatchedProject]:
        """Return all projects."""
        found = []
        for row in self._connection.execute(text(_ALL)):
            limits = {"tokens": row.tokens, "calls": row.calls, "seconds": row.seconds}
            used = {"tokens": row.used_tokens, "calls": row.used_calls, "seconds": row.used_seconds}
            budget = [
                Used(what, used[what], limit) for what, limit in limits.items() if limit is not None
            ]
            alerts = ProjectAlerts.model_validate(row.alerts)
            found.append(WatchedProject(row.name, alerts, budget, row.failed))
        return found

    def risks(self, name: str) -> list[str]:
        """Return why a project, a goal of it or an open task of its goals will miss its deadline."""
        rows = self._connection.execute(
            text(
                """
                SELECT p.risk FROM project p WHERE p.name = :name AND p.risk IS NOT NULL
                UNION ALL
                SELECT 'goal ' || g.name || ' ' || g.risk FROM project p JOIN goal g ON g.project_id = p.id
                 WHERE p.name = :name AND g.risk IS NOT NULL
                UNION ALL
                SELECT t.risk FROM project p JOIN project_run r ON r.project_id = p.id
                  JOIN task t ON t.root_id = r.run_id
                 WHERE p.name = :name AND t.risk IS NOT NULL
                   AND t.state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped')
                   AND NOT EXISTS (SELECT 1 FROM goal g WHERE g.task_id = t.id)
                """
            ),
            {"name": name},
        )
        return [row.risk for row in rows]
