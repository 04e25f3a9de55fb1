"""What documents of a project can be made of, gathered from the database and from a folder of code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agents.tools.folder import package_of, read_folder
from celery_app.celery import artifacts, database
from celery_app.store.project_figures import ProjectFigures
from workflows.artifact import ArtifactType, ProjectArtifact
from workflows.code_folder import code_sources
from workflows.document import Source
from workflows.facts import project_facts, work_facts
from workflows.project import Project
from workflows.storable import LONGEST_TEXT

__all__ = ["gather"]

_READABLE = (ArtifactType.TEXT, ArtifactType.JSON, ArtifactType.TABLE)
#: Goals whose result is one.
_WITH_RESULT = ("reached", "to-accept")


def gather(project: Project, folder: str | None) -> dict[str, Source]:
    """Return all sources by their names.

    Args:
        project: As it stands, with its timeline and artifacts.
        folder: The code that it is about.

    Raises:
        InvalidDocument: The folder cannot be read.
    """
    found = [*project_facts(project), _work(project), *_texts(project)]
    if folder is not None:
        path = Path(folder)
        found += code_sources(read_folder(path), package_of(path))
    return {source.name: source for source in found}


def _work(project: Project) -> Source:
    figures = ProjectFigures(database).of(project.id)
    tokens = figures.prompt_tokens + figures.generated_tokens
    return work_facts(figures.tasks, figures.calls, tokens)


def _texts(project: Project) -> Iterator[Source]:
    """Yield what the project was given, and the results of its goals in their order."""
    newest = {each.name: each for each in reversed(project.artifacts)}
    inputs = project.plan.inputs if project.plan is not None else {}
    for name in project.inputs:
        artifact = artifacts.get(inputs[name]) if name in inputs else newest.get(name)
        yield from _source(f"input:{name}", artifact)
    for goal in project.order():
        if project.standing(goal).state in _WITH_RESULT:
            yield from _source(f"result:{goal}", newest.get(goal))


def _source(name: str, artifact: ProjectArtifact | None) -> Iterator[Source]:
    if artifact is None or artifact.type not in _READABLE or artifact.size > LONGEST_TEXT:
        return
    is_text = artifact.type is ArtifactType.TEXT
    yield Source(name=name, text=artifacts.read(artifact).decode(), prose=is_text)
