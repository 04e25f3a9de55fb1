"""`ProjectRisks`: what was told of the deadlines of projects.

Invariant: what is told is told once, as an event of the kind `at-risk`, and is taken back when it holds
no longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from celery_app.postgres.connection import Database

__all__ = ["ProjectRisks"]


class ProjectRisks:
    """Notes which deadlines are at risk.

    Args:
        database: Where projects are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def open(self) -> list[str]:
        """Return the ids of the projects with a deadline and goals that have no result, in the order of
        their deadlines."""
        rows = self.database.rows(
            """
            SELECT p.id FROM project p
             WHERE p.due IS NOT NULL AND p.plan IS NOT NULL
               AND EXISTS (SELECT 1 FROM goal g
                            WHERE g.project_id = p.id AND g.state IN ('open', 'running', 'failed')
                            UNION ALL
                           SELECT 1 FROM goal g WHERE g.project_id = p.id AND g.risk IS NOT NULL
                            UNION ALL SELECT 1 WHERE p.risk IS NOT NULL)
             ORDER BY p.due
            """
        )
        return [row.id for row in rows]

    def of(self, project_id: UUID) -> dict[str, str]:
        """Return what was last told of the deadlines of a project, by goal; its own under the empty name."""
        rows = self.database.rows(
            """
            SELECT '' AS name, risk FROM project WHERE id = :id AND risk IS NOT NULL
            UNION ALL SELECT name, risk FROM goal WHERE project_id = :id AND risk IS NOT NULL
            """,
            id=str(project_id),
        )
        return {row.name: row.risk for row in rows}

    def note(self, project_id: UUID, risks: Mapping[str, str | None]) -> None:
        """Keep what was found: by goal, or under the empty name for the project; None is no more.

        What is at risk becomes an event of the task that is the end of the goal, or of the project where
        nothing works on it.
        """
        self.database.rows(
            """
            WITH found AS (
                SELECT f.name, f.risk, g.run_id, g.task_id
                  FROM unnest(CAST(:names AS text[]), CAST(:risks AS text[])) AS f (name, risk)
                  LEFT JOIN goal g ON g.project_id = :id AND g.name = f.name
            ), told AS (
                INSERT INTO event (task_id, root_id, kind)
                SELECT coalesce(task_id, :id), coalesce(run_id, :id), 'at-risk' FROM found
                 WHERE risk IS NOT NULL
            ), tasks AS (
                UPDATE task SET risk = found.risk FROM found WHERE task.id = found.task_id
            ), whole AS (
                UPDATE project SET risk = found.risk FROM found WHERE project.id = :id AND found.name = ''
            )
            UPDATE goal SET risk = found.risk FROM found
             WHERE goal.project_id = :id AND goal.name = found.name
            """,
            id=str(project_id),
            names=list(risks),
            risks=list(risks.values()),
        )
