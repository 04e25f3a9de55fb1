"""`ArtifactStore`: what work brought forth, by its content.

Small contents stand in Postgres, large ones in files of one folder; both are sealed where there are
keys, and kept once however many artifacts have them.

Invariants
  * A content is whole or not there: a file is written under another name, made durable and renamed
    before the row that names it. What a crash leaves is a file without a row, which `sweep` removes.
  * What is read is what was put: its hash is compared each time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from celery_app.errors import UnknownArtifact, Unsealed
from celery_app.postgres.connection import Database
from workflows.artifact import ArtifactType, ProjectArtifact
from workflows.errors import InvalidTask

__all__ = ["ArtifactStore"]

_ROWS = """
    SELECT a.id, a.namespace, a.name, a.type, a.run_id, a.task_id, a.content_id, a.origin, a.created_at,
           c.size
      FROM artifact a JOIN content c ON c.id = a.content_id
"""


class ArtifactStore:
    """Keeps artifacts.

    Args:
        database: Where they are listed, and small contents are kept.
        folder: Where large contents are kept.
        inline: Bytes of the largest content that is kept in Postgres.
        largest: Bytes of the largest content that is taken.
    """

    def __init__(self, database: Database, folder: Path, inline: int, largest: int) -> None:
        self.database = database
        self.folder = folder
        self._inline = inline
        self._largest = largest
        self._vault = database.vault

    def put(
        self,
        namespace: str,
        name: str,
        content: bytes,
        type: ArtifactType,  # noqa: A002 - the field's name everywhere
        *,
        id: UUID | None = None,  # noqa: A002
        run: str | None = None,
        task: str | None = None,
        inputs: dict[str, str] | None = None,
    ) -> ProjectArtifact:
        """Keep a content under a name; return what is known of it.

        An artifact that is there under the same id already stays as it is: so work that is done twice
        brings forth one.

        Raises:
            InvalidTask: It is larger than artifacts may be.
        """
        if len(content) > self._largest:
            raise InvalidTask(
                f"artifact {name!r} has {len(content)} bytes and at most {self._largest} are kept: "
                "make it smaller, or raise artifacts.largest"
            )
        digest = hashlib.sha256(content).hexdigest()
        content_id = self._address(digest)
        artifact_id = str(id or uuid4())
        in_file = len(content) > self._inline
        if in_file:
            self._write(content_id, content)
        body = None if in_file else self._vault.seal(content, "content.body", content_id)
        origin = {"sha256": digest, "inputs": inputs or {}}

        def work(connection: Connection) -> None:
            connection.execute(
                text(
                    """
                    INSERT INTO content (id, size, body) VALUES (:id, :size, :body)
                    ON CONFLICT (id) DO UPDATE SET created_at = clock_timestamp()
                    """
                ),
                {"id": content_id, "size": len(content), "body": body},
            )
            connection.execute(
                text(
                    """
                    INSERT INTO artifact
                           (id, namespace, name, type, run_id, task_id, content_id, origin)
                    VALUES (:id, :namespace, :name, :type, :run, :task, :content, :origin)
                    ON CONFLICT (id) DO NOTHING
                    """
                ),
                {
                    "id": artifact_id,
                    "namespace": namespace,
                    "name": name,
                    "type": str(type),
                    "run": run,
                    "task": task,
                    "content": content_id,
                    "origin": self._vault.pack(origin, "artifact.origin", artifact_id),
                },
            )

        self.database.transaction(work)
        return self.get(artifact_id)

    def get(self, artifact_id: UUID | str) -> ProjectArtifact:
        """Return what is known of an artifact. Raises `UnknownArtifact`."""
        row = self.database.row(f"{_ROWS} WHERE a.id = :id", id=str(artifact_id))
        if row is None:
            raise UnknownArtifact(
                f"there is no artifact {artifact_id}: `ai-agent project show` lists those of a project"
            )
        return self._artifact(row)

    def newest(self, namespace: str, name: str) -> ProjectArtifact:
        """Return the newest artifact of a name. Raises `UnknownArtifact`."""
        row = self.database.row(
            f"{_ROWS} WHERE a.namespace = :namespace AND a.name = :name"
            " ORDER BY a.created_at DESC, a.id LIMIT 1",
            namespace=namespace,
            name=name,
        )
        if row is None:
            raise UnknownArtifact(
                f"{namespace} has no artifact {name!r}: `ai-agent project show {namespace}` lists them"
            )
        return self._artifact(row)

    def of_namespace(self, namespace: str, limit: int = 1000) -> list[ProjectArtifact]:
        """Return the artifacts of a namespace, newest first."""
        rows = self.database.rows(
            f"{_ROWS} WHERE a.namespace = :namespace ORDER BY a.created_at DESC, a.id LIMIT :limit",
            namespace=namespace,
            limit=limit,
        )
        return [self._artifact(row) for row in rows]

    def read(self, artifact: ProjectArtifact) -> bytes:
        """Return the content of an artifact.

        Raises:
            Unsealed: It was altered, or its file is gone.
        """
        row = self.database.row(
            "SELECT c.id, c.body FROM artifact a JOIN content c ON c.id = a.content_id WHERE a.id = :id",
            id=str(artifact.id),
        )
        if row is None:
            raise UnknownArtifact(f"there is no artifact {artifact.id} any more")
        sealed = self._read(row.id) if row.body is None else row.body
        content = self._vault.open(sealed, "content.body", row.id)
        if hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise Unsealed(f"the content of artifact {artifact.id} is not what was put there")
        return content

    def sweep(self, seconds: float = 3600) -> int:
        """Remove contents that no artifact has for so long, and files that none has; return how many."""
        rows = self.database.rows(
            """
            DELETE FROM content c
             WHERE created_at < clock_timestamp() - make_interval(secs => :seconds)
               AND NOT EXISTS (SELECT 1 FROM artifact a WHERE a.content_id = c.id) RETURNING id
            """,
            seconds=seconds,
        )
        return len(rows) + self._remove_files(seconds)

    def _remove_files(self, seconds: float) -> int:
        if not self.folder.is_dir():
            return 0
        now = self.database.row("SELECT extract(epoch FROM clock_timestamp())::float AS now").now
        old = [file for file in self.folder.iterdir() if file.stat().st_mtime < now - seconds]
        known = {
            row.id
            for row in self.database.rows(
                "SELECT id FROM content WHERE id = ANY (:ids)", ids=[file.name for file in old]
            )
        }
        gone = [file for file in old if file.name not in known]
        for file in gone:
            file.unlink(missing_ok=True)
        return len(gone)

    def _address(self, digest: str) -> str:
        """Return what a content is kept under.

        Where there are keys, nobody without them can tell whether a content that they know is there.
        """
        ring = self._vault.ring
        if not self._vault.is_closed or ring is None:
            return digest
        return ring.sign("content", digest.encode()).hex()

    def _write(self, content_id: str, content: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / content_id
        if path.exists():
            path.touch()
            return
        sealed = self._vault.seal(content, "content.body", content_id)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".", delete=False) as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, content_id: str) -> bytes:
        try:
            return (self.folder / content_id).read_bytes()
        except OSError as error:
            raise Unsealed(
                f"the content {content_id[:16]} cannot be read in {self.folder}: {error.strerror}; all "
                "machines must share the folder artifacts.folder"
            ) from error

    def _artifact(self, row: Any) -> ProjectArtifact:
        origin = self._vault.unpack(row.origin, "artifact.origin", row.id)
        return ProjectArtifact(
            id=row.id,
            namespace=row.namespace,
            name=row.name,
            type=row.type,
            sha256=origin["sha256"],
            size=row.size,
            run=row.run_id,
            task=row.task_id,
            inputs=origin["inputs"],
            created_at=row.created_at,
        )
