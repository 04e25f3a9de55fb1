"""`RemoteDocuments`: documents for a program that asks the HTTP API.

Invariant: what it gives and raises is what `DocumentationManager` would have given and raised over there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from celery_app.desk import Kind, Outcome
from celery_app.document_desk import not_in_time
from celery_app.remote import Remote
from celery_app.store.documents import DocumentVersion
from workflows.document import Document, DocumentationType, Finding, Writing
from workflows.errors import InvalidDocument
from workflows.project import Project

__all__ = ["RemoteDocuments"]

Wait = Callable[[Kind, UUID, float | None], Outcome]


class RemoteDocuments:
    """Asks an API for documents.

    Args:
        remote: The API.
        wait: Waits for the end of a run over there.
        project: Returns a project by its name.
    """

    def __init__(self, remote: Remote, wait: Wait, project: Callable[[str], Project]) -> None:
        self._remote = remote
        self._wait = wait
        self._project = project

    async def generate_documentation(
        self, project: Project, doc_type: DocumentationType
    ) -> Document:
        """See `Documents.generate_documentation`."""
        return await asyncio.to_thread(self.generate, project, doc_type)

    def generate(
        self,
        project: Project | str,
        doc_type: DocumentationType | str,
        folder: Path | None = None,
        timeout: float | None = None,
    ) -> Document:
        """See `Documents.generate`."""
        name = project if isinstance(project, str) else project.name
        writing = self.start(name, doc_type, folder)
        if writing.run is not None:
            outcome = self._wait("task", writing.run, timeout)
            if outcome.error is not None:
                raise outcome.error
            if not outcome.over:
                raise not_in_time(writing, timeout)
        return self.get(writing.project, writing.type)

    def start(
        self, project: str, doc_type: DocumentationType | str, folder: Path | None = None
    ) -> Writing:
        """See `Documents.start`."""
        kind = DocumentationType(doc_type)
        if folder is not None:
            raise InvalidDocument(
                f"{folder}: over HTTP nobody says which folder is read; leave it out, or write the "
                f"first version where the API runs: `ai-agent docs generate {project} --source FOLDER`"
            )
        begun = self._remote.post("/documents", {"project": project, "type": str(kind)})
        run = None if begun["run"] is None else UUID(begun["run"])
        return Writing(begun["project"], kind, begun["sections"], begun["written"], run)

    def listed(self, project: str) -> list[DocumentationType]:
        """See `Documents.listed`."""
        return self._project(project).own_documents()

    def get(
        self, project: str, doc_type: DocumentationType | str, version: int | None = None
    ) -> Document:
        """See `Documents.get`."""
        return Document.model_validate(self._remote.get(_at(project, doc_type), version=version))

    def versions(
        self, project: str | None = None, doc_type: DocumentationType | str | None = None
    ) -> list[DocumentVersion]:
        """See `Documents.versions`."""
        kind = None if doc_type is None else str(DocumentationType(doc_type))
        found = self._remote.get("/documents", project=project, type=kind, versions="true")
        return [
            DocumentVersion(
                **{
                    **each,
                    "type": DocumentationType(each["type"]),
                    "created_at": datetime.fromisoformat(each["created_at"]),
                }
            )
            for each in found
        ]

    def restore(self, project: str, doc_type: DocumentationType | str, version: int) -> Document:
        """See `Documents.restore`."""
        self._remote.post(f"{_at(project, doc_type)}/restore", {"version": version})
        return self.get(project, doc_type)

    def check(self, project: str, doc_type: DocumentationType | str) -> Finding:
        """See `Documents.check`."""
        found = self._remote.get(f"{_at(project, doc_type)}/check")
        checked = self.get(project, doc_type, found["version"])
        return Finding(checked, found["changes"], found["sections"])


def _at(project: str, doc_type: DocumentationType | str) -> str:
    return f"/documents/{quote(project, safe='')}/{DocumentationType(doc_type)}"
