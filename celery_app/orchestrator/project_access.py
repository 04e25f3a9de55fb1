"""A project by its name or id, for whoever may do something to it."""

from __future__ import annotations

from celery_app.celery import projects
from celery_app.errors import UnknownProject
from celery_app.security.guard import Guard
from workflows.project import Project

__all__ = ["found"]


def found(permissions: Guard, name: str, action: str) -> Project:
    """Return a project, for somebody who may do this to it.

    Args:
        permissions: Who asks.
        name: Its name, or its id. It is asked for by its name in any case.
        action: What is to be done.

    Raises:
        UnknownProject: There is none, which only those are told who could do this to one of that name.
        PermissionDenied: They may not.
    """
    try:
        project = projects.get(name)
    except UnknownProject:
        permissions.require(action, f"project:{name}")
        raise
    permissions.require(action, f"project:{project.name}")
    return project
