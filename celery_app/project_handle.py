"""`ProjectHandle`: a project that was created, to be looked at, changed and worked on.

Invariant: a handle is a name. Another process can make the same handle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery_app.handles import TaskHandle
from celery_app.orchestrator.project_artifacts import ProjectArtifacts
from workflows.artifact import ProjectArtifact
from workflows.errors import InvalidProject
from workflows.project import Project, ProjectSpec
from workflows.project_file import load
from workflows.task_input import read_input
from workflows.text_file import read_text
from workflows.timeline import Timeline

if TYPE_CHECKING:
    from celery_app.local_desk import LocalDesk

__all__ = ["ProjectHandle", "project_of", "read_project"]


class ProjectHandle:
    """A project.

    Args:
        name: Its name, or its id.
        desk: Who is asked about it.
    """

    def __init__(self, name: str, desk: LocalDesk) -> None:
        self.name = name
        self._desk = desk
        self._manager = desk.projects
        self._artifacts = ProjectArtifacts(desk.permissions)

    def __repr__(self) -> str:
        return f"ProjectHandle({self.name!r})"

    def get(self) -> Project:
        """Return the project as it stands. Raises `UnknownProject`; so all that follows here."""
        return self._manager.get(self.name)

    def document(self) -> dict[str, Any]:
        """Return the project's public document, with what it has taken so far under `figures`."""
        return {**self.get().as_json(), "figures": asdict(self._manager.figures(self.name))}

    @property
    def timeline(self) -> Timeline:
        """Its plan in time, as it stands now. Raises `InvalidProject` while it has no plan."""
        found = self.get().timeline
        if found is None:
            raise InvalidProject(
                f"project {self.name} has no plan yet: `ai-agent project plan {self.name}` makes it"
            )
        return found

    def run(self, goals: Sequence[str] = ()) -> TaskHandle:
        """Start the work on all goals that have no result, or on those that are named.

        Raises:
            InvalidProject: It has no plan, or nothing is left to do.
            IllegalTransition: A run works on one of the goals already.
        """
        return TaskHandle(self._manager.run(self.name, goals), self._desk)

    def accept(self, goal: str) -> None:
        """Accept the result of a goal that only people can judge. Raises `IllegalTransition`."""
        self._manager.accept(self.name, goal)

    def artifacts(self) -> list[ProjectArtifact]:
        """Return what its work has brought forth, the newest first."""
        return self._artifacts.all(self.name)

    def artifact(self, name: str) -> bytes:
        """Return the content of the newest artifact of a name. Raises `UnknownArtifact`."""
        return self._artifacts.newest(self.name, name)[1]

    def add_artifact(self, path: Path, name: str | None = None) -> ProjectArtifact:
        """Keep a file as an artifact, named after the file unless a name is given.

        Raises:
            InvalidProject: The file cannot be read.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidProject(f"{path} cannot be read: {error.strerror}") from error
        return self._artifacts.add(self.name, name or path.name, content, path.name)


def project_of(
    given: ProjectSpec | Path, inputs: Mapping[str, str] | None
) -> tuple[ProjectSpec, dict[str, str]]:
    """Return a project and the texts of its inputs; those of a file stand beside it, see `read_project`."""
    return (given, dict(inputs or {})) if isinstance(given, ProjectSpec) else read_project(given)


def read_project(path: Path) -> tuple[ProjectSpec, dict[str, str]]:
    """Return the project that a YAML file describes, and the texts of its inputs.

    Inputs are files; where their paths are relative, they begin where the YAML file is.

    Raises:
        InvalidProject: The file cannot be read or has mistakes; all of them are told.
        InvalidTask: An input cannot be read.
    """
    try:
        spec = load(read_text(path), str(path))
    except InvalidProject:
        raise
    except ValueError as error:
        raise InvalidProject(f"{path} {error}") from error
    return spec, {name: read_input(path.parent / name).text for name in spec.inputs}
