"""/console/documents: what is written about projects, its versions, and what has changed between two."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Query, Request
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.console.difference import changed_lines
from celery_app.api.console.prose import blocks
from celery_app.api.console.rendering import page, see
from celery_app.api.papers import Version, Words
from celery_app.document_desk import compared
from workflows.document import DocumentationType, difference

__all__ = ["address"]

Chosen = Annotated[Version | None, Query()]


def listed(request: Request, desk: Asking) -> Response:
    """Show the documents that whoever asks may see."""
    found = desk.documents.versions()
    counts = {(each.project, each.type): 0 for each in found}
    for each in found:
        counts[each.project, each.type] += 1
    holding = [(each, counts[each.project, each.type]) for each in found if each.holds]
    return page(request, "documents.html", documents=holding)


def show(
    request: Request,
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002 - the field's name everywhere
    version: Chosen = None,
) -> Response:
    """Show a document, by default the version that holds."""
    document = desk.documents.get(project, type, version)
    return page(
        request,
        "document.html",
        document=document,
        address=address(project, type),
        blocks=blocks(document),
        versions=desk.documents.versions(project, type),
    )


def diff(
    request: Request,
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002
    old: Chosen = None,
    new: Chosen = None,
) -> Response:
    """Show what has changed between two versions."""
    earlier, later = compared(desk.documents, project, type, old, new)
    lines = changed_lines(difference(earlier, later))
    return page(
        request,
        "difference.html",
        address=address(project, type),
        earlier=earlier,
        later=later,
        lines=lines,
        added=sum(line.kind == "added" for line in lines),
        removed=sum(line.kind == "removed" for line in lines),
        versions=desk.documents.versions(project, type),
    )


def check(
    request: Request,
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002
) -> Response:
    """Show which sources of a document are not any more as they were, and what was made of them."""
    found = desk.documents.check(project, type)
    return page(request, "check.html", address=address(project, type), found=found)


def restore(
    desk: Asking,
    project: Words,
    type: DocumentationType,  # noqa: A002
    version: Annotated[Version, Form()],
) -> Response:
    """Let an old version hold again."""
    desk.documents.restore(project, type, version)
    return see(address(project, type), "restored")


def write(
    desk: Asking,
    project: Words,
    type: Annotated[DocumentationType, Form()],  # noqa: A002
) -> Response:
    """Have a document written of what its project is now."""
    writing = desk.documents.start(project, type)
    if writing.run is None:
        return see(address(writing.project, writing.type), "up-to-date")
    return see(f"/console/tasks/{writing.run}", "writing")


def address(project: str, kind: DocumentationType) -> str:
    """Return where a document is shown."""
    return f"/console/documents/{project}/{kind}"
