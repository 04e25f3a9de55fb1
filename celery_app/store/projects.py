"""`ProjectStore`: projects, their plans, and how their goals stand.

Invariants
  * A change is made to the revision that was read, or refused: of two people one is told that he is late.
  * A goal's standing belongs to the digest of what its plan was made of; planned anew, it is open again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from celery_app.errors import UnknownProject
from celery_app.postgres.connection import Database
from workflows.errors import IllegalTransition, InvalidProject
from workflows.estimates import Sample
from workflows.project import GoalStanding, Project, ProjectPlan, ProjectSpec
from workflows.timeline import Actual

__all__ = ["ProjectStore"]

_STANDINGS = {"succeeded": "done", "failed": "failed", "cancelled": "failed", "running": "running"}

#: A goal whose run has ended without reaching it has failed.
_GOALS = """
    SELECT g.project_id, g.name, g.run_id, g.checks, g.accepted_by, g.reached_at,
           CASE WHEN g.state = 'running' AND t.state IN ('succeeded', 'failed', 'cancelled', 'skipped')
                THEN 'failed' ELSE g.state END AS state
      FROM goal g LEFT JOIN task t ON t.id = g.run_id WHERE g.project_id = :id
"""


class ProjectStore:
    """Keeps projects.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def add(self, project_id: UUID, spec: ProjectSpec) -> None:
        """Keep a new project. Raises `InvalidProject` if the name is taken."""
        row = self.database.row(
            """
            INSERT INTO project (id, name, spec) VALUES (:id, :name, :spec)
            ON CONFLICT (name) DO NOTHING RETURNING id
            """,
            id=str(project_id),
            name=spec.name,
            spec=self._vault.pack(spec.model_dump(mode="json"), "project.spec", project_id),
        )
        if row is None:
            raise InvalidProject(
                f"there is a project {spec.name!r} already: `ai-agent project plan` changes it"
            )

    def get(self, name: str) -> Project:
        """Return a project by its name or id. Raises `UnknownProject`."""
        row = self.database.row("SELECT * FROM project WHERE name = :name OR id = :name", name=name)
        if row is None:
            raise UnknownProject(
                f"there is no project {name!r}: `ai-agent project list` shows those there are"
            )
        spec = ProjectSpec.model_validate(self._vault.unpack(row.spec, "project.spec", row.id))
        plan = self._vault.unpack(row.plan, "project.plan", row.id)
        goals = self.database.rows(_GOALS, id=row.id)
        return Project(
            id=UUID(row.id),
            name=spec.name,
            description=spec.description,
            goals=spec.goals,
            resources=spec.resources,
            spec=spec,
            plan=None if plan is None else ProjectPlan.model_validate(plan),
            standings={goal.name: self._standing(row.id, goal) for goal in goals},
            revision=row.revision,
            created_at=row.created_at,
        )

    def _standing(self, project_id: str, row: Any) -> GoalStanding:
        checks = self._vault.unpack(row.checks, "goal.checks", project_id, row.name)
        return GoalStanding(
            state=row.state,
            checks=checks or {},
            accepted_by=row.accepted_by,
            run=row.run_id,
            reached_at=row.reached_at,
        )

    def names(self) -> list[tuple[str, datetime]]:
        """Return the names of all projects with when they were created, the newest first."""
        rows = self.database.rows("SELECT name, created_at FROM project ORDER BY created_at DESC")
        return [(row.name, row.created_at) for row in rows]

    def change(self, project: Project, spec: ProjectSpec, plan: ProjectPlan | None) -> int:
        """Keep another spec and plan of a project as it was read; return its new revision.

        Goals whose digest is another one are open again, and those that are no more are forgotten.

        Raises:
            IllegalTransition: Somebody else has changed it meanwhile.
        """
        digests = {name: goal.digest for name, goal in plan.goals.items()} if plan else {}

        def work(connection: Connection) -> int:
            row = connection.execute(
                text(
                    """
                    UPDATE project SET spec = :spec, plan = :plan, revision = revision + 1,
                           changed_at = clock_timestamp()
                     WHERE id = :id AND revision = :revision RETURNING revision
                    """
                ),
                {
                    "id": str(project.id),
                    "revision": project.revision,
                    "spec": self._vault.pack(
                        spec.model_dump(mode="json"), "project.spec", project.id
                    ),
                    "plan": None
                    if plan is None
                    else self._vault.pack(plan.model_dump(mode="json"), "project.plan", project.id),
                },
            ).first()
            if row is None:
                raise IllegalTransition(
                    f"project {project.name} has just been changed by somebody else: look at it again"
                )
            _keep_goals(connection, str(project.id), digests)
            return int(row.revision)

        return self.database.transaction(work)

    def begin(self, project: Project, run_id: str, goals: list[str]) -> None:
        """Note which run works on some goals.

        Raises:
            IllegalTransition: Another run works on one of them.
        """

        def work(connection: Connection) -> None:
            taken = connection.execute(
                text(
                    """
                    UPDATE goal SET state = 'running', run_id = :run, checks = NULL, accepted_by = NULL,
                           reached_at = NULL
                     WHERE project_id = :id AND name = ANY (:goals) AND
                           (state <> 'running' OR run_id = :run OR EXISTS (
                               SELECT 1 FROM task WHERE task.id = goal.run_id
                                  AND task.state IN ('succeeded', 'failed', 'cancelled', 'skipped')))
                    RETURNING name
                    """
                ),
                {"id": str(project.id), "run": run_id, "goals": goals},
            ).all()
            if busy := set(goals) - {row.name for row in taken}:
                raise IllegalTransition(
                    f"goal {min(busy)} of project {project.name} is being worked on: "
                    f"`ai-agent project show {project.name}` tells by which run"
                )

        self.database.transaction(work)

    def close(
        self, project_id: str, goal: str, run_id: str, state: str, checks: Mapping[str, bool | None]
    ) -> bool:
        """Note how a goal ended in a run; tell whether that run still was the one."""
        row = self.database.row(
            """
            UPDATE goal SET state = :state, checks = :checks, reached_at = clock_timestamp()
             WHERE project_id = :id AND name = :goal AND run_id = :run RETURNING name
            """,
            id=project_id,
            goal=goal,
            run=run_id,
            state=state,
            checks=self._vault.pack(dict(checks), "goal.checks", project_id, goal),
        )
        return row is not None

    def accept(self, project: Project, goal: str, by: str) -> None:
        """Note that somebody accepts what only people can judge.

        Raises:
            IllegalTransition: The goal does not wait for that.
        """
        row = self.database.row(
            """
            UPDATE goal SET state = 'reached', accepted_by = :by
             WHERE project_id = :id AND name = :goal AND state = 'to-accept' RETURNING name
            """,
            id=str(project.id),
            goal=goal,
            by=by,
        )
        if row is None:
            state = project.standings[goal].state if goal in project.standings else "not planned"
            raise IllegalTransition(
                f"goal {goal} of project {project.name} waits for nobody: it is {state}"
            )

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

    def samples(self, limit: int = 2000) -> list[Sample]:
        """Return how long the work of agents took, the newest first."""
        rows = self.database.rows(
            """
            SELECT t.agent, max(c.model) AS model, sum(c.prompt_tokens) AS size, sum(c.seconds) AS seconds
              FROM task t JOIN model_call c ON c.task_id = t.id
             WHERE t.state = 'succeeded' AND t.name = 'task.run' AND t.agent IS NOT NULL
             GROUP BY t.id, t.agent, t.finished_at ORDER BY t.finished_at DESC LIMIT :limit
            """,
            limit=limit,
        )
        return [
            Sample(row.agent, row.model or "", row.size or 0, float(row.seconds)) for row in rows
        ]


def _keep_goals(connection: Connection, project_id: str, digests: Mapping[str, str]) -> None:
    connection.execute(
        text("DELETE FROM goal WHERE project_id = :id AND NOT name = ANY (:names)"),
        {"id": project_id, "names": list(digests)},
    )
    for name, digest in digests.items():
        connection.execute(
            text(
                """
                INSERT INTO goal (project_id, name, digest) VALUES (:id, :name, :digest)
                ON CONFLICT (project_id, name) DO UPDATE
                   SET digest = excluded.digest, state = 'open', run_id = NULL, checks = NULL,
                       accepted_by = NULL, reached_at = NULL
                 WHERE goal.digest <> excluded.digest
                """
            ),
            {"id": project_id, "name": name, "digest": digest},
        )
