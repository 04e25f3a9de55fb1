"""A project in time, with what was measured by now."""

from __future__ import annotations

from datetime import UTC, datetime

from celery_app.celery import agent_manager, database
from celery_app.orchestrator.project_run import names_of
from celery_app.store.journal import JournalStore
from celery_app.store.project_figures import ProjectFigures
from workflows.estimates import Estimator
from workflows.project import Project, ProjectSpec
from workflows.timeline import Timeline

__all__ = ["deadlines_of", "estimator", "timeline"]

_figures = ProjectFigures(database)


def estimator() -> Estimator:
    """Return what knows how long steps take, from all that was measured so far."""
    return Estimator(
        _figures.samples(),
        JournalStore(database).estimates(),
        {profile.name: profile.model for profile in agent_manager().profiles},
    )


def timeline(project: Project, known: Estimator | None = None) -> Timeline | None:
    """Return a project's plan in time, as it stands; None while it has no plan.

    Args:
        project: The project.
        known: Knows how long steps take; by default `estimator`.
    """
    if project.plan is None:
        return None
    present = datetime.now(UTC)
    actuals = _figures.actuals(names_of(project))
    begun = [actual.started_at for actual in actuals.values() if actual.started_at is not None]
    return project.plan.timeline_at(
        min(begun, default=present),
        now=present,
        estimator=known or estimator(),
        actuals=actuals,
        deadlines=deadlines_of(project),
        risk=project.alerts.risk,
    )


def deadlines_of(project: ProjectSpec) -> dict[str, datetime]:
    """Return the deadlines of goals by name, and of the project under the empty name."""
    found = {goal.name: goal.deadline for goal in project.goals if goal.deadline is not None}
    return {**found, "": project.deadline} if project.deadline is not None else found
