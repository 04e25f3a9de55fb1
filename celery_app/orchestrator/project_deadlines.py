"""Say that a deadline of a project will be missed before it is.

A deadline is at risk when too many of the likely courses of what is left miss it. Unlike the deadline
of a task it ends nothing: work that is late goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from celery_app.celery import projects
from celery_app.orchestrator.project_timeline import estimator, timeline
from celery_app.postgres.connection import Database
from celery_app.store.project_risks import ProjectRisks
from workflows.estimates import Estimator
from workflows.project import Project
from workflows.timeline import Timeline

__all__ = ["ProjectDeadlines"]

logger = logging.getLogger(__name__)


class ProjectDeadlines:
    """Looks at all projects with deadlines.

    Args:
        database: Where they are.
        interval: Seconds between looks.
    """

    def __init__(self, database: Database, interval: float = 10.0) -> None:
        self._risks = ProjectRisks(database)
        self._interval = interval
        self._looked_at = float("-inf")

    def look(self) -> int:
        """Note which deadlines are at risk now, and which are no longer; return how many changed."""
        if time.monotonic() < self._looked_at + self._interval:
            return 0
        self._looked_at = time.monotonic()
        found = self._risks.open()
        known = estimator() if found else Estimator()
        return sum(self._look_at(projects.get(project_id), known) for project_id in found)

    def _look_at(self, project: Project, known: Estimator) -> int:
        course = timeline(project, known)
        if course is None:
            return 0
        changes = _changes(project, course, self._risks.of(project.id))
        for name, risk in changes.items():
            if risk is not None:
                place = f"goal {name} of project" if name else "project"
                logger.warning("%s %s %s", place, project.name, risk)
        if changes:
            self._risks.note(project.id, changes)
        return len(changes)


def _changes(project: Project, course: Timeline, told: Mapping[str, str]) -> dict[str, str | None]:
    late = {name: share for name, share in course.late.items() if _is_open(project, name)}
    gone: dict[str, str | None] = dict.fromkeys(told.keys() - late.keys())
    # Told once: the figures change with every look, and the news does not.
    news = {name: _told(course, name, late[name]) for name in late.keys() - told.keys()}
    return {**gone, **news}


def _is_open(project: Project, goal: str) -> bool:
    names = [goal] if goal else [each.name for each in project.goals]
    return any(project.standing(name).state not in ("reached", "to-accept") for name in names)


def _told(course: Timeline, goal: str, share: float) -> str:
    due = course.deadlines[goal]
    likely = course.milestones[goal] if goal else course.likely
    if due <= course.moment(course.now):
        return f"has missed its deadline {due:%Y-%m-%d %H:%M:%S %Z}, and is not done"
    return (
        f"will probably miss its deadline: it is due {due:%Y-%m-%d %H:%M:%S %Z}, and {share:.0%} of the "
        f"likely courses end later (half of them by {course.moment(likely.p50):%Y-%m-%d %H:%M:%S})"
    )
