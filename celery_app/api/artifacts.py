"""/projects/NAME/artifacts: what work has brought forth, and what somebody adds.

Invariant: a content is told to be of its type, is nothing else whoever looks, and is shown by no browser as
a page of this origin.
"""

from __future__ import annotations

import mimetypes
from typing import Annotated
from urllib.parse import quote

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.papers import Words
from celery_app.api.route import document
from workflows.artifact import ArtifactType, ProjectArtifact

__all__ = ["attachment"]

_MEDIA = {
    ArtifactType.TEXT: "text/plain; charset=utf-8",
    ArtifactType.JSON: "application/json",
    ArtifactType.TABLE: "text/csv; charset=utf-8",
}
_UNKNOWN = "application/octet-stream"


def artifacts(desk: Asking, project: Words) -> Response:
    """List the artifacts of a project, the newest first, each with its hash and where it came from."""
    return document([each.model_dump(mode="json") for each in desk.artifacts(project)])


def artifact_content(desk: Asking, project: Words, artifact: Words) -> Response:
    """Give the newest content of an artifact, which is a goal, an input or what was added."""
    return attachment(*desk.project_artifacts.newest(project, artifact))


def attachment(found: ProjectArtifact, content: bytes) -> Response:
    """Return a content as a file to be kept."""
    name = quote(found.name.rsplit("/", 1)[-1], safe="")
    headers = {
        "Content-Type": _media(found),
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "Content-Security-Policy": "sandbox",
    }
    return Response(content, headers=headers)


async def add_artifact(
    request: Request,
    desk: Asking,
    project: Words,
    artifact: Words,
    file: Annotated[
        Words | None, Query(description="A file's name, which tells the type; else its own does.")
    ] = None,
) -> Response:
    """Keep the body as an artifact of a project."""
    body = await request.body()
    kept = await run_in_threadpool(desk.add_artifact, project, artifact, body, file)
    return document(kept.model_dump(mode="json"), 201)


def _media(artifact: ProjectArtifact) -> str:
    if artifact.type is ArtifactType.IMAGE:
        return mimetypes.guess_type(artifact.name)[0] or _UNKNOWN
    return _MEDIA.get(artifact.type, _UNKNOWN)
