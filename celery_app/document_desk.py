"""`Documents`: where documents are asked for and written, in this process or at a server.

Invariant: as with `celery_app.desk`: whoever serves (`DocumentationManager`, or `RemoteDocuments`, which asks
the HTTP API) takes and gives the same values and raises the same errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from celery_app.errors import WaitTimeout
from celery_app.store.documents import DocumentVersion
from workflows.document import Document, DocumentationType, Finding, Writing
from workflows.project import Project

__all__ = ["Documents", "compared", "not_in_time"]


class Documents(Protocol):
    """Has documents written; shows, restores and checks them. Every verb raises `PermissionDenied`."""

    async def generate_documentation(
        self, project: Project, doc_type: DocumentationType
    ) -> Document:
        """Have a document written; see `generate`."""

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
            folder: The code that it is about; by default that of the version that holds. Over HTTP
                nobody names one.
            timeout: Seconds to wait.

        Raises:
            InvalidDocument: There is nothing to make it of.
            TaskFailed: A section could not be written.
            WaitTimeout: It is not written yet; it goes on.
        """

    def start(
        self, project: str, doc_type: DocumentationType | str, folder: Path | None = None
    ) -> Writing:
        """Hand in what is to be written of a document, and wait for nothing; see `generate`."""

    def listed(self, project: str) -> list[DocumentationType]:
        """Return the types of the documents that a project lists as its own. Raises `InvalidDocument`."""

    def get(
        self, project: str, doc_type: DocumentationType | str, version: int | None = None
    ) -> Document:
        """Return a version of a document, by default the one that holds. Raises `UnknownDocument`."""

    def versions(
        self, project: str | None = None, doc_type: DocumentationType | str | None = None
    ) -> list[DocumentVersion]:
        """Return the versions that whoever asks may see: of all documents, of a project's, or of one."""

    def restore(self, project: str, doc_type: DocumentationType | str, version: int) -> Document:
        """Let an old version hold again, and return it. Raises `UnknownDocument`."""

    def check(self, project: str, doc_type: DocumentationType | str) -> Finding:
        """Compare the version that holds with what it would be made of now.

        Raises:
            InvalidDocument: The folder of its code cannot be read any more.
            UnknownDocument: There is none.
        """


def compared(
    documents: Documents,
    project: str,
    doc_type: DocumentationType | str,
    old: int | None = None,
    new: int | None = None,
) -> tuple[Document, Document]:
    """Return two versions of a document.

    Args:
        documents: Who is asked.
        project: Its project.
        doc_type: Its type.
        old: The first; by default the one before the second.
        new: The second; by default the one that holds.
    """
    later = documents.get(project, doc_type, new)
    return documents.get(project, doc_type, old or max(1, later.version - 1)), later


def not_in_time(writing: Writing, timeout: float | None) -> WaitTimeout:
    """Return the error of a document that is not written yet."""
    return WaitTimeout(
        f"{writing.type} of {writing.project} is not written after {timeout or 0:g} s; it goes on: "
        f"`ai-agent task wait {writing.run}`"
    )
