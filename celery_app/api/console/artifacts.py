"""What the work of a task has brought forth for its project, as far as whoever asks may see that."""

from __future__ import annotations

from uuid import UUID

from starlette.responses import Response

from celery_app.api.artifacts import attachment
from celery_app.api.asking import Asking
from celery_app.api.papers import Identified
from celery_app.celery import artifacts
from celery_app.errors import PermissionDenied, UnknownArtifact, UnknownProject
from celery_app.local_desk import LocalDesk
from workflows.artifact import ProjectArtifact

__all__ = ["brought_forth", "content"]


def content(desk: Asking, task_id: Identified, artifact_id: UUID) -> Response:
    """Give the content of an artifact, to be kept as a file."""
    desk.manager.require("task.read", task_id)
    for each in brought_forth(desk, task_id):
        if each.id == artifact_id:
            return attachment(each, artifacts.read(each))
    raise UnknownArtifact(f"task {task_id} has brought forth no artifact {artifact_id}")


def brought_forth(desk: LocalDesk, task_id: UUID) -> list[ProjectArtifact]:
    """Return the artifacts that a task, or the run that it is, has brought forth, the newest first."""
    try:
        project = desk.manager.get(task_id).spec.get("project")
        found = [] if project is None else desk.artifacts(project)
    except (PermissionDenied, UnknownProject):
        return []
    return [each for each in found if task_id in (each.run, each.task)]
