"""`DocumentationManager`: has documents written, and keeps their versions.

A document is a graph of tasks: those of the sections that have not been written yet, side by side, and one
that puts all sections together. The core is synchronous; its async verb is thin.

Invariants
  * What has been written of the same sources is not written again, whichever run wrote it.
  * Where nothing is to be written nothing is handed in, and no version is made.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult

from celery_app.celery import app, documents, guard
from celery_app.document_desk import not_in_time
from celery_app.errors import UnknownDocument
from celery_app.orchestrator.document_draft import Draft
from celery_app.orchestrator.document_sources import gather
from celery_app.orchestrator.project_manager import ProjectManager
from celery_app.orchestrator.task_manager import TaskManager
from celery_app.security.guard import Guard
from celery_app.security.policy import request
from celery_app.store.documents import DocumentVersion
from workflows.document import Document, DocumentationType, Finding, Writing
from workflows.errors import InvalidDocument
from workflows.outline import USES_CODE
from workflows.project import Project

__all__ = ["DocumentationManager"]


class DocumentationManager:
    """Has documents written; shows, restores and checks them.

    Args:
        permissions: Stands before everything; by default the guard of the user of this process.

    Attributes:
        docs_storage: Where documents live.
    """

    def __init__(self, permissions: Guard | None = None) -> None:
        self.permissions = permissions or guard()
        self.docs_storage = documents
        self._projects = ProjectManager(self.permissions)
        self._tasks = TaskManager(permissions=self.permissions)

    async def generate_documentation(
        self, project: Project, doc_type: DocumentationType
    ) -> Document:
        """Have a document written; see `generate`."""
        return await asyncio.to_thread(self.generate, project, doc_type)

    def generate(
        self,
        project: Project | str,
        doc_type: DocumentationType | str,
        folder: Path | None = None,
        timeout: float | None = None,
    ) -> Document:
        """Have a document written of what its project is now; wait for it, and return it.

        Args:
            project: The project, or its name.
            doc_type: What kind of document.
            folder: The code that it is about; by default that of the version that holds.
            timeout: Seconds to wait.

        Raises:
            InvalidDocument: There is nothing to make it of.
            PermissionDenied: It is not for whoever asks; so with all that follows here.
            TaskFailed: A section could not be written.
            WaitTimeout: It is not written yet; it goes on.
        """
        name = project if isinstance(project, str) else project.name
        writing = self.start(name, doc_type, folder)
        if writing.run is not None:
            _wait(writing, timeout)
        return self.get(writing.project, writing.type)

    def start(
        self, project: str, doc_type: DocumentationType | str, folder: Path | None = None
    ) -> Writing:
        """Hand in what is to be written of a document, and wait for nothing; see `generate`."""
        kind = DocumentationType(doc_type)
        found = self._projects.get(project)
        self._require("document.change", found.name, kind)
        before = self._holding(found.name, kind)
        draft = self._draft(found, kind, _folder(kind, folder, before))
        self.docs_storage.open(draft.id, found.id, kind)
        kept = self.docs_storage.kept(draft.id)
        keys = draft.keys
        written = [section for section, key in keys.items() if key not in kept]
        run = None
        if before is None or not draft.describes(before):
            run = self._tasks.submit(draft.graph(kept))
        elif (confirmed := draft.confirmed(before)) != before:
            self.docs_storage.store(confirmed)
        return Writing(found.name, kind, list(keys), written if run else [], run)

    def listed(self, project: str) -> list[DocumentationType]:
        """Return the types of the documents that a project lists as its own.

        Raises:
            InvalidDocument: It lists none.
        """
        return self._projects.get(project).own_documents()

    def get(
        self, project: str, doc_type: DocumentationType | str, version: int | None = None
    ) -> Document:
        """Return a version of a document, by default the one that holds. Raises `UnknownDocument`."""
        kind = DocumentationType(doc_type)
        self._require("document.read", project, kind)
        return self.docs_storage.get(project, kind, version)

    def versions(
        self, project: str | None = None, doc_type: DocumentationType | str | None = None
    ) -> list[DocumentVersion]:
        """Return the versions that whoever asks may see: of all documents, of a project's, or of one.

        Raises:
            PermissionDenied: They may see none at all.
        """
        kind = None if doc_type is None else DocumentationType(doc_type)
        found = [
            each
            for each in self.docs_storage.versions(project, kind)
            if self.permissions.decide(
                request("document.read", f"document:{each.project}/{each.type}")
            ).allowed
        ]
        if not found:
            self.permissions.require("document.read", f"document:{project or '*'}/{kind or '*'}")
        return found

    def restore(self, project: str, doc_type: DocumentationType | str, version: int) -> Document:
        """Let an old version hold again, and return it. Raises `UnknownDocument`."""
        kind = DocumentationType(doc_type)
        self._require("document.change", project, kind)
        self.docs_storage.restore(
            self.docs_storage.get(project, kind, version), self.permissions.name
        )
        return self.docs_storage.get(project, kind)

    def check(self, project: str, doc_type: DocumentationType | str) -> Finding:
        """Compare the version that holds with what it would be made of now.

        Raises:
            InvalidDocument: The folder of its code cannot be read any more.
            UnknownDocument: There is none.
        """
        document = self.get(project, doc_type)
        draft = self._draft(self._projects.get(project), document.type, document.metadata.folder)
        changes = document.changes(draft.depends_on)
        return Finding(document, changes, document.touched(changes))

    def _draft(self, project: Project, kind: DocumentationType, folder: str | None) -> Draft:
        return Draft.of(project, kind, gather(project, folder), folder)

    def _holding(self, project: str, kind: DocumentationType) -> Document | None:
        try:
            return self.docs_storage.get(project, kind)
        except UnknownDocument:
            return None

    def _require(self, action: str, project: str, kind: DocumentationType) -> None:
        self.permissions.require(action, f"document:{project}/{kind}")


def _wait(writing: Writing, timeout: float | None) -> None:
    try:
        AsyncResult(str(writing.run), app=app).get(timeout=timeout)
    except CeleryTimeout as error:
        raise not_in_time(writing, timeout) from error


def _folder(kind: DocumentationType, folder: Path | None, before: Document | None) -> str | None:
    """Return the folder that a document is about: the one given, or else that of the version before."""
    if folder is None:
        return None if before is None else before.metadata.folder
    if kind not in USES_CODE:
        able = ", ".join(USES_CODE)
        raise InvalidDocument(
            f"a {kind} is made of the project alone: leave the folder out, or write one of {able}"
        )
    return str(folder.resolve())
