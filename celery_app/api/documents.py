"""/documents: what is written about projects, in versions.

Invariant: nobody names a folder here. What is read is read with the rights of this process, so only who works
on the machine says which code a document is about; what is written anew is about the code of the version
before.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.papers import Restoring, Version, Words, WritingWish
from celery_app.api.projects import Once
from celery_app.api.route import document
from celery_app.document_desk import compared
from celery_app.local_desk import LocalDesk
from workflows.document import Document, DocumentationType, difference

Chosen = Annotated[Version | None, Query(description="By default the one that holds.")]


def listed(
    desk: Asking,
    project: Annotated[Words | None, Query()] = None,
    type: DocumentationType | None = None,  # noqa: A002 - the field's name everywhere
    versions: Annotated[bool, Query(description="All versions, not only those that hold.")] = False,
) -> Response:
    """List the documents, or their versions, that the caller may see."""
    found = desk.documents.versions(project, type)
    shown = [each for each in found if versions or each.holds]
    return document([{**asdict(each), "created_at": each.created_at.isoformat()} for each in shown])


def write(desk: Asking, wish: WritingWish, idempotency_key: Once = None) -> Response:
    """Have a document written; `run` is the task to wait for, null where nothing has changed."""
    writing = desk.documents.start(wish.project, wish.type)
    run = None if writing.run is None else str(writing.run)
    return document({**asdict(writing), "run": run}, 202)


def show(
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002
    version: Chosen = None,
) -> Response:
    """Show a document: its content, its version, and where each paragraph comes from."""
    return _paper(desk.documents.get(project, type, version))


def diff(
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002
    old: Annotated[Version | None, Query(description="By default the one before `new`.")] = None,
    new: Chosen = None,
) -> Response:
    """Tell what has changed between two versions, as `patch` takes it."""
    earlier, later = compared(desk.documents, project, type, old, new)
    lines = difference(earlier, later)
    return document({"old": earlier.version, "new": later.version, "diff": lines})


def restore(
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002
    restoring: Restoring,
) -> Response:
    """Let an old version hold again. No version is made and none is lost."""
    desk.documents.restore(project, type, restoring.version)
    return Response(status_code=204)


def check(desk: Asking, project: Words, type: DocumentationType) -> Response:  # noqa: A002
    """Compare a document with what it would be made of now: which sources are not as they were."""
    return document(_finding(desk, project, type))


def _finding(desk: LocalDesk, project: str, kind: DocumentationType) -> dict[str, object]:
    found = desk.documents.check(project, kind)
    return {
        "id": str(found.document.id),
        "project": project,
        "type": str(kind),
        "version": found.document.version,
        "changes": found.changes,
        "sections": found.sections,
    }


def _paper(found: Document) -> Response:
    return document(found.model_dump(mode="json"))
