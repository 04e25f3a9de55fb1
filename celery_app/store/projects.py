"""`ProjectStore`: projects, their plans, and how their goals stand.

Invariants
  * A change is made to the revision that was read, or refused: of two people one is told that he is late.
  * A goal's standing belongs to the digest of what its plan was made of; planned anew, it is open again,
    and so is what was made of its result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from celery_app.errors import UnknownProject
from celery_app.postgres.connection import Database
from workflows.errors import IllegalTransition, InvalidProject
from workflows.project import GoalStanding, Project, ProjectSpec
from workflows.project_plan import ProjectPlan

__all__ = ["Listed", "ProjectStore"]

#: Seconds after which a run that is not there yet never will be.
_BEGINS_WITHIN = 60

#: A goal whose last task has ended without reaching it has failed.
_OVER = "('succeeded', 'failed', 'cancelled', 'skipped')"
_GOALS = f"""
    SELECT g.project_id, g.name, g.run_id, g.checks, g.accepted_by, g.reached_at,
           CASE WHEN g.state = 'running' AND t.state IN {_OVER} THEN 'failed' ELSE g.state END AS state
      FROM goal g LEFT JOIN task t ON t.id = g.task_id WHERE g.project_id = :id
"""
_FRESH = "checks = NULL, accepted_by = NULL, reached_at = NULL, risk = NULL"
_OPEN = f"state = 'open', run_id = NULL, task_id = NULL, {_FRESH}"


@dataclass(frozen=True)
class Listed:
    """A project in a list: how many of its goals are reached, and what is told of its deadline."""

    id: UUID
    name: str
    created_at: datetime
    goals: int
    reached: int
    risk: str | None


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
        runs = self.database.rows(
            "SELECT run_id FROM project_run WHERE project_id = :id ORDER BY begun_at", id=row.id
        )
        return Project(
            **dict(spec),
            id=UUID(row.id),
            plan=None if plan is None else ProjectPlan.model_validate(plan),
            standings={goal.name: self._standing(row.id, goal) for goal in goals},
            runs=[UUID(run.run_id) for run in runs],
            revision=row.revision,
            created_at=row.created_at,
        )

    def newest(self) -> list[Listed]:
        """Return all projects in short, the newest first."""
        rows = self.database.rows(
            """
            SELECT p.id, p.name, p.created_at, count(g.name) AS goals,
                   count(*) FILTER (WHERE g.state = 'reached') AS reached,
                   coalesce(p.risk, min(g.risk)) AS risk
              FROM project p LEFT JOIN goal g ON g.project_id = p.id
             GROUP BY p.id ORDER BY p.created_at DESC
            """
        )
        return [Listed(**{**row._asdict(), "id": UUID(row.id)}) for row in rows]

    def change(self, project: Project, spec: ProjectSpec, plan: ProjectPlan) -> int:
        """Keep another spec and plan of a project as it was read; return its new revision.

        Goals whose digest is another one are open again with those that follow from them, and goals
        that are no more are forgotten.

        Raises:
            IllegalTransition: Somebody else has changed it meanwhile.
        """
        values = {
            "id": str(project.id),
            "revision": project.revision,
            "spec": self._vault.pack(spec.model_dump(mode="json"), "project.spec", project.id),
            "plan": self._vault.pack(plan.model_dump(mode="json"), "project.plan", project.id),
        }
        digests = {name: goal.digest for name, goal in plan.goals.items()}
        before = project.plan.goals if project.plan else {}
        changed = [
            name
            for name, digest in digests.items()
            if name not in before or before[name].digest != digest
        ]

        def work(connection: Connection) -> int:
            row = connection.execute(
                text(
                    """
                    UPDATE project SET spec = :spec, plan = :plan, revision = revision + 1,
                           changed_at = clock_timestamp()
                     WHERE id = :id AND revision = :revision RETURNING revision
                    """
                ),
                values,
            ).first()
            if row is None:
                raise IllegalTransition(
                    f"project {project.name} has just been changed by somebody else: look at it again"
                )
            _keep_goals(connection, str(project.id), digests)
            _reopen(connection, str(project.id), {*changed, *spec.following(changed)})
            return int(row.revision)

        return self.database.transaction(work)

    def begin(self, project: Project, run_id: str, ends: Mapping[str, str]) -> None:
        """Note which run works on some goals; what follows from them is open again.

        Args:
            project: The project, as it was read.
            run_id: The run.
            ends: The task that is the end of each goal, by the goal's name.

        Raises:
            IllegalTransition: Another run works on one of them, or the project was changed meanwhile.
        """

        def work(connection: Connection) -> None:
            taken = connection.execute(
                text(
                    f"""
                    UPDATE goal SET state = 'running', {_FRESH}, run_id = :run, task_id = f.task_id,
                           begun_at = clock_timestamp()
                      FROM unnest(CAST(:goals AS text[]), CAST(:ends AS text[])) AS f (name, task_id)
                     WHERE project_id = :id AND goal.name = f.name
                       AND (SELECT revision FROM project WHERE id = :id) = :revision
                       AND (state <> 'running'
                            OR EXISTS (SELECT 1 FROM task t
                                        WHERE t.id = goal.task_id AND t.state IN {_OVER})
                            OR begun_at < clock_timestamp() - make_interval(secs => {_BEGINS_WITHIN})
                               AND NOT EXISTS (SELECT 1 FROM task t WHERE t.id = goal.task_id))
                    RETURNING goal.name
                    """
                ),
                {
                    "id": str(project.id),
                    "run": run_id,
                    "goals": list(ends),
                    "ends": list(ends.values()),
                    "revision": project.revision,
                },
            ).all()
            if busy := set(ends) - {row.name for row in taken}:
                raise IllegalTransition(
                    f"goal {min(busy)} of project {project.name} is being worked on, or was just planned "
                    f"anew: `ai-agent project show {project.name}` tells by which run"
                )
            _reopen(connection, str(project.id), project.following(ends) - set(ends))
            connection.execute(
                text("INSERT INTO project_run (project_id, run_id) VALUES (:id, :run)"),
                {"id": str(project.id), "run": run_id},
            )

        self.database.transaction(work)

    def release(self, project: Project, run_id: str) -> None:
        """Open the goals of a run that could not be begun."""
        self.database.rows(
            f"UPDATE goal SET {_OPEN} WHERE project_id = :id AND run_id = :run",
            id=str(project.id),
            run=run_id,
        )

    def close(
        self, project_id: str, goal: str, run_id: str, state: str, checks: Mapping[str, bool | None]
    ) -> bool:
        """Note how a goal ended in a run; tell whether that run still was the one."""
        row = self.database.row(
            """
            UPDATE goal SET state = :state, checks = :checks, reached_at = clock_timestamp()
             WHERE project_id = :id AND name = :goal AND run_id = :run AND state <> 'open' RETURNING name
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
            raise IllegalTransition(
                f"goal {goal} of project {project.name} waits for nobody: it is "
                f"{project.standing(goal).state}"
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
                ON CONFLICT (project_id, name) DO UPDATE SET digest = excluded.digest
                """
            ),
            {"id": project_id, "name": name, "digest": digest},
        )


def _reopen(connection: Connection, project_id: str, goals: Collection[str]) -> None:
    """Let goals be open; a run that works on one writes nothing of it any more."""
    connection.execute(
        text(f"UPDATE goal SET {_OPEN} WHERE project_id = :id AND name = ANY (:goals)"),
        {"id": project_id, "goals": list(goals)},
    )
