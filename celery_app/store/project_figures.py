"""`ProjectFigures`: what a project has taken so far, and how long the work of agents takes.

Everything is counted from the tasks of the project's runs; nothing is kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from celery_app.postgres.connection import Database
from celery_app.store.project_risks import ProjectRisks
from workflows.estimates import Sample
from workflows.project import ProjectAlerts
from workflows.timeline import Actual

__all__ = ["Figures", "ProjectFigures"]

_STANDINGS = {"succeeded": "done", "failed": "failed", "cancelled": "failed", "running": "running"}
_SAMPLES = 2000


@dataclass(frozen=True)
class Figures:
    """What the runs of a project have taken.

    `tasks` are counted by state, `seconds` are those at work. `risks` is what is told of deadlines, by
    goal; the deadline of the project stands there under the empty name.
    """

    tasks: dict[str, int]
    calls: int
    prompt_tokens: int
    generated_tokens: int
    seconds: float
    risks: dict[str, str]


class ProjectFigures:
    """Counts.

    Args:
        database: Where tasks and projects are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def of(self, project_id: UUID) -> Figures:
        """Return the figures of a project."""
        tasks = self.database.rows(
            """
            SELECT t.state, count(*) AS n,
                   coalesce(sum(extract(epoch FROM t.finished_at - t.started_at)), 0)::float AS seconds
              FROM task t JOIN project_run r ON r.run_id = t.root_id
             WHERE r.project_id = :id AND t.id <> r.run_id GROUP BY t.state ORDER BY t.state
            """,
            id=str(project_id),
        )
        calls = self.database.row(
            """
            SELECT count(*) AS calls, coalesce(sum(c.prompt_tokens), 0)::bigint AS prompt,
                   coalesce(sum(c.generated_tokens), 0)::bigint AS generated
              FROM task t JOIN project_run r ON r.run_id = t.root_id JOIN model_call c ON c.task_id = t.id
             WHERE r.project_id = :id
            """,
            id=str(project_id),
        )
        return Figures(
            tasks={row.state: row.n for row in tasks},
            calls=calls.calls,
            prompt_tokens=calls.prompt,
            generated_tokens=calls.generated,
            seconds=sum(row.seconds for row in tasks),
            risks=ProjectRisks(self.database).of(project_id),
        )

    def watch(self, project_id: UUID, alerts: ProjectAlerts, due: datetime | None) -> None:
        """Keep from where on somebody is to be told, and when the first deadline is."""
        self.database.rows(
            "UPDATE project SET alerts = CAST(:alerts AS jsonb), due = :due WHERE id = :id",
            id=str(project_id),
            alerts=alerts.model_dump_json(),
            due=due,
        )

    def watched(self) -> dict[str, tuple[UUID, ProjectAlerts]]:
        """Return the id of each project, and from where on somebody is to be told, by name."""
        rows = self.database.rows("SELECT id, name, alerts FROM project ORDER BY name")
        return {row.name: (UUID(row.id), ProjectAlerts.model_validate(row.alerts)) for row in rows}

    def actuals(self, names: Mapping[str, str]) -> dict[str, Actual]:
        """Return what has become of tasks.

        Args:
            names: What each is called, by its task id.
        """
        rows = self.database.rows(
            "SELECT id, state, started_at, finished_at FROM task WHERE id = ANY (:ids)",
            ids=list(names),
        )
        return {
            names[row.id]: Actual(
                standing=_STANDINGS[row.state],
                started_at=row.started_at,
                finished_at=row.finished_at,
            )
            for row in rows
            if row.state in _STANDINGS and row.started_at is not None
        }

    def samples(self) -> list[Sample]:
        """Return how long the work of agents took, the newest first."""
        rows = self.database.rows(
            """
            SELECT t.agent, max(c.model) AS model, sum(c.prompt_tokens) AS size,
                   extract(epoch FROM t.finished_at - t.started_at)::float AS seconds
              FROM (SELECT * FROM task
                     WHERE state = 'succeeded' AND name = 'task.run' AND agent IS NOT NULL
                     ORDER BY finished_at DESC LIMIT :most) AS t
              JOIN model_call c ON c.task_id = t.id
             GROUP BY t.id, t.agent, t.started_at, t.finished_at
            """,
            most=_SAMPLES,
        )
        return [Sample(row.agent, row.model or "", int(row.size or 0), row.seconds) for row in rows]
