"""The artifacts of projects, for whoever may see or change the project."""

from __future__ import annotations

from celery_app.celery import artifacts
from celery_app.orchestrator.project_access import found
from celery_app.security.guard import Guard
from workflows.artifact import ProjectArtifact, type_of

__all__ = ["ProjectArtifacts"]


class ProjectArtifacts:
    """Reads what work has brought forth, and keeps what somebody adds.

    Args:
        permissions: Stands before everything.
    """

    def __init__(self, permissions: Guard) -> None:
        self.permissions = permissions

    def newest(self, project: str, name: str) -> tuple[ProjectArtifact, bytes]:
        """Return the newest artifact of a name, and its content.

        Raises:
            UnknownProject: There is no such project.
            UnknownArtifact: It has none of that name.
            Unsealed: The content was altered, or its file is gone.
        """
        namespace = found(self.permissions, project, "project.read").name
        newest = artifacts.newest(namespace, name)
        return newest, artifacts.read(newest)

    def all(self, project: str) -> list[ProjectArtifact]:
        """Return the artifacts of a project, the newest first. Raises `UnknownProject`."""
        return artifacts.of_namespace(found(self.permissions, project, "project.read").name)

    def add(
        self, project: str, name: str, content: bytes, file: str | None = None
    ) -> ProjectArtifact:
        """Keep a content as an artifact of a project.

        Args:
            project: The project.
            name: The artifact's name.
            content: What is kept.
            file: The name of the file that it was in, which tells its type; by default as `name`.

        Raises:
            UnknownProject: There is no such project.
            InvalidTask: It is too large.
        """
        namespace = found(self.permissions, project, "project.change").name
        return artifacts.put(namespace, name, content, type_of(file or name, content))
