"""`DocumentStorage`: documents in versions, and the sections that they are put together from.

A version is a content: what comes up again makes no new one, but becomes the one that holds. So to restore
is to let an old version hold again, and a run that is done twice leaves what it left.

Invariants
  * Of one document no two versions have the same content, and numbers are never given twice.
  * A version is written by a task only while that task is its worker's: who was fenced out writes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from celery_app.errors import LeaseLost, UnknownDocument
from celery_app.postgres.connection import Database
from celery_app.store.records import Claim
from workflows.document import Document, DocumentationType, DocumentMetadata, Section

__all__ = ["DocumentStorage", "DocumentVersion"]

_VERSIONS = """
    SELECT d.id, d.type, p.name AS project, v.version, d.version = v.version AS holds, v.run_id,
           v.created_at, v.digest, d.changed_by
      FROM document d JOIN project p ON p.id = d.project_id
      JOIN document_version v ON v.document_id = d.id
"""


@dataclass(frozen=True)
class DocumentVersion:
    """A version in a list: `holds` tells whether it is the one that is shown, and who restored it."""

    id: str
    project: str
    type: DocumentationType
    version: int
    holds: bool
    restored_by: str | None
    sha256: str
    run: str | None
    created_at: datetime


class DocumentStorage:
    """Keeps documents.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def open(self, document_id: UUID, project_id: UUID, doc_type: DocumentationType) -> None:
        """Make sure that a document is known, before anything of it is written."""
        self.database.rows(
            """
            INSERT INTO document (id, project_id, type) VALUES (:id, :project, :type)
            ON CONFLICT DO NOTHING RETURNING id
            """,
            id=str(document_id),
            project=str(project_id),
            type=str(doc_type),
        )

    def keep(self, document_id: UUID, section: Section) -> None:
        """Keep a section that a task has written; what that task kept before stays as it is."""
        task = str(section.task)
        self.database.rows(
            """
            INSERT INTO document_section (id, document_id, key, body) VALUES (:id, :document, :key, :body)
            ON CONFLICT (id) DO NOTHING RETURNING id
            """,
            id=task,
            document=str(document_id),
            key=self._vault.pack(section.key, "document_section.key", task),
            body=self._vault.pack(section.model_dump(mode="json"), "document_section.body", task),
        )

    def kept(self, document_id: UUID) -> dict[str, str]:
        """Return which task has written each section that is there, by the section's key."""
        rows = self.database.rows(
            "SELECT id, key FROM document_section WHERE document_id = :id ORDER BY created_at, id",
            id=str(document_id),
        )
        return {self._vault.unpack(row.key, "document_section.key", row.id): row.id for row in rows}

    def sections(self, tasks: Sequence[str]) -> list[Section]:
        """Return the sections that tasks have written, in the order of the tasks.

        Raises:
            UnknownDocument: One of them has kept none.
        """
        rows = self.database.rows(
            "SELECT id, body FROM document_section WHERE id = ANY (:ids)", ids=list(tasks)
        )
        bodies = {row.id: row.body for row in rows}
        if missing := [task for task in tasks if task not in bodies]:
            raise UnknownDocument(f"task {missing[0]} has kept no section: generate it again")
        return [
            Section.model_validate(self._vault.unpack(bodies[task], "document_section.body", task))
            for task in tasks
        ]

    def store(self, document: Document, claim: Claim | None = None) -> int:
        """Let a content hold; return its version.

        What is known of a content that is there already is brought up to date, and nothing else changes.

        Args:
            document: It must have been opened.
            claim: The task that stores it, if one does.

        Raises:
            LeaseLost: That task is another worker's; nothing was written.
        """
        document_id, digest = str(document.id), document.metadata.sha256

        def work(connection: Connection) -> int:
            latest = _lock(connection, document_id, claim)
            version = self._version_of(connection, document_id, digest)
            if version is None:
                version = latest + 1
                self._insert(connection, document, version)
            else:
                self._describe(connection, document, version)
            _let_hold(connection, document_id, version)
            return version

        return self.database.transaction(work)

    def get(
        self, project: str, doc_type: DocumentationType, version: int | None = None
    ) -> Document:
        """Return a version of a document; by default the one that holds.

        Raises:
            UnknownDocument: There is none.
        """
        row = self.database.row(
            """
            SELECT v.*, d.type FROM document d JOIN project p ON p.id = d.project_id
              JOIN document_version v ON v.document_id = d.id AND v.version = coalesce(:version, d.version)
             WHERE p.name = :project AND d.type = :type
            """,
            project=project,
            type=str(doc_type),
            version=version,
        )
        if row is None:
            which = "" if version is None else f" version {version} of"
            raise UnknownDocument(
                f"there is no{which} {doc_type} of project {project}: "
                f"`ai-agent docs generate {project} --type {doc_type}` writes it, "
                f"`ai-agent docs list {project}` shows what there is"
            )
        return self._document(row)

    def versions(
        self, project: str | None = None, doc_type: DocumentationType | None = None
    ) -> list[DocumentVersion]:
        """Return versions of documents, newest first: of all, or those of a project or of a type."""
        rows = self.database.rows(
            f"""
            {_VERSIONS} WHERE (CAST(:project AS text) IS NULL OR p.name = :project)
               AND (CAST(:type AS text) IS NULL OR d.type = :type)
            ORDER BY p.name, d.type, v.version DESC
            """,
            project=project,
            type=None if doc_type is None else str(doc_type),
        )
        return [self._listed(row) for row in rows]

    def restore(self, document: Document, by: str) -> None:
        """Let a version hold again."""
        self.database.transaction(
            lambda connection: _let_hold(connection, str(document.id), document.version, by)
        )

    def _listed(self, row: Any) -> DocumentVersion:
        place = "document_version.digest", row.id, row.version
        return DocumentVersion(
            id=row.id,
            project=row.project,
            type=DocumentationType(row.type),
            version=row.version,
            holds=bool(row.holds),
            restored_by=row.changed_by if row.holds else None,
            sha256=self._vault.unpack(row.digest, *place),
            run=row.run_id,
            created_at=row.created_at,
        )

    def _document(self, row: Any) -> Document:
        key = row.document_id, row.version
        metadata = self._vault.unpack(row.metadata, "document_version.metadata", *key)
        return Document(
            id=UUID(row.document_id),
            type=DocumentationType(row.type),
            version=row.version,
            content=self._vault.unpack(row.content, "document_version.content", *key),
            metadata=DocumentMetadata.model_validate({**metadata, "created_at": row.created_at}),
        )

    def _version_of(self, connection: Connection, document_id: str, digest: str) -> int | None:
        rows = connection.execute(
            text("SELECT version, digest FROM document_version WHERE document_id = :id"),
            {"id": document_id},
        )
        for row in rows:
            place = "document_version.digest", document_id, row.version
            if self._vault.unpack(row.digest, *place) == digest:
                return int(row.version)
        return None

    def _insert(self, connection: Connection, document: Document, version: int) -> None:
        assert hashlib.sha256(document.content.encode()).hexdigest() == document.metadata.sha256
        key = str(document.id), version
        connection.execute(
            text(
                """
                INSERT INTO document_version (document_id, version, digest, content, metadata, run_id)
                VALUES (:id, :version, :digest, :content, :metadata, :run)
                """
            ),
            {
                "id": key[0],
                "version": version,
                "digest": self._vault.pack(
                    document.metadata.sha256, "document_version.digest", *key
                ),
                "content": self._vault.pack(document.content, "document_version.content", *key),
                "metadata": self._packed(document, version),
                "run": _run_of(document),
            },
        )
        connection.execute(
            text("UPDATE document SET latest = :version WHERE id = :id"),
            {"id": key[0], "version": version},
        )

    def _describe(self, connection: Connection, document: Document, version: int) -> None:
        connection.execute(
            text(
                """
                UPDATE document_version SET metadata = :metadata, run_id = :run
                 WHERE document_id = :id AND version = :version
                """
            ),
            {
                "id": str(document.id),
                "version": version,
                "metadata": self._packed(document, version),
                "run": _run_of(document),
            },
        )

    def _packed(self, document: Document, version: int) -> bytes:
        known = document.metadata.model_dump(mode="json", exclude={"created_at"})
        return self._vault.pack(known, "document_version.metadata", document.id, version)


def _run_of(document: Document) -> str | None:
    return None if document.metadata.run is None else str(document.metadata.run)


def _lock(connection: Connection, document_id: str, claim: Claim | None) -> int:
    """Keep others from the document until this is over, and make sure of the task that writes it."""
    if claim is not None:
        mine = connection.execute(
            text(
                "SELECT 1 FROM task WHERE id = :id AND fence = :fence AND state = 'running' FOR SHARE"
            ),
            {"id": claim.id, "fence": claim.fence},
        ).first()
        if mine is None:
            raise LeaseLost(f"task {claim.id} is no longer ours: its document is not stored")
    row = connection.execute(
        text("SELECT latest FROM document WHERE id = :id FOR UPDATE"), {"id": document_id}
    ).first()
    if row is None:
        raise UnknownDocument(f"there is no document {document_id} any more: its project is gone")
    return int(row.latest)


def _let_hold(
    connection: Connection, document_id: str, version: int, by: str | None = None
) -> None:
    connection.execute(
        text(
            """
            UPDATE document SET version = :version, changed_by = :by, changed_at = clock_timestamp()
             WHERE id = :id AND version IS DISTINCT FROM :version
            """
        ),
        {"id": document_id, "version": version, "by": by},
    )
