"""`ArtifactStore`: what work brought forth, by its content.

Small contents stand in Postgres, large ones in files of one folder; both are enciphered, and kept once
however many artifacts have them.

Invariants
  * A content is whole or not there: a file has a name that no other has, and is durable before the row
    that names it. What a crash leaves is a file that no row names, which `sweep` removes.
  * What is read is what was put: its hash is compared each time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from celery_app.crash_points import crash_point
from celery_app.errors import UnknownArtifact, Unsealed
from celery_app.postgres.connection import Database
from celery_app.security.envelope import Envelope
from workflows.artifact import ArtifactType, ProjectArtifact
from workflows.errors import InvalidTask

__all__ = ["ArtifactStore"]

_ROWS = """
    SELECT a.id, a.namespace, a.name, a.type, a.run_id, a.task_id, a.origin, a.created_at, c.size
      FROM artifact a JOIN content c ON c.id = a.content_id
"""
#: Seconds for which a file without a row may still get one.
_SWEEP_AFTER = 3600.0


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
        inputs: Mapping[str, str] | None = None,
    ) -> ProjectArtifact:
        """Keep a content under a name; return what is known of it.

        An artifact that is there under the same id already stays as it is: so work that is done twice
        brings forth one.

        Raises:
            InvalidTask: It is larger than artifacts may be.
        """
        if len(content) > self._largest:
            raise InvalidTask(
                f"artifact {name!r} has {len(content):,} bytes and at most {self._largest:,} are kept: "
                "make it smaller, or raise artifacts.largest"
            )
        kept = _Content(hashlib.sha256(content).hexdigest(), content)
        artifact_id = str(id or uuid4())
        origin = {"sha256": kept.sha256, "inputs": dict(inputs or {})}
        content_id = self._address(kept.sha256)
        row = {
            "id": artifact_id,
            "namespace": namespace,
            "name": name,
            "type": str(type),
            "run": run,
            "task": task,
            "content": content_id,
            "origin": self._vault.pack(origin, "artifact.origin", artifact_id),
        }

        def work(connection: Connection) -> None:
            self._keep(connection, content_id, kept)
            connection.execute(
                text(
                    """
                    INSERT INTO artifact
                           (id, namespace, name, type, run_id, task_id, content_id, origin)
                    VALUES (:id, :namespace, :name, :type, :run, :task, :content, :origin)
                    ON CONFLICT (id) DO NOTHING
                    """
                ),
                row,
            )

        self.database.transaction(work)
        return self.get(artifact_id)

    def get(self, artifact_id: UUID | str) -> ProjectArtifact:
        """Return what is known of an artifact. Raises `UnknownArtifact`."""
        row = self.database.row(f"{_ROWS} WHERE a.id = :id", id=str(artifact_id))
        if row is None:
            raise UnknownArtifact(
                f"there is no artifact {artifact_id}: `ai-agent project artifacts` lists those of a project"
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
                f"{namespace} has no artifact {name!r}: `ai-agent project artifacts {namespace}` lists them"
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
            UnknownArtifact: It is not there any more.
            Unsealed: It was altered, or its file is gone.
        """
        row = self.database.row(
            """
            SELECT c.id, c.secret, c.body, c.file
              FROM artifact a JOIN content c ON c.id = a.content_id WHERE a.id = :id
            """,
            id=str(artifact.id),
        )
        if row is None:
            raise UnknownArtifact(f"there is no artifact {artifact.id} any more")
        secret = self._vault.unpack(row.secret, "content.secret", row.id)
        closed = self._read_file(row.file) if row.body is None else bytes(row.body)
        content = Envelope(bytes.fromhex(secret)).open(closed, row.id)
        if hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise Unsealed(f"the content of artifact {artifact.id} is not what was put there")
        return content

    def sweep(self, seconds: float = _SWEEP_AFTER) -> int:
        """Remove contents that no artifact has, and files that no content has; return how many.

        Args:
            seconds: What is younger is left alone: its artifact may be on its way.
        """
        rows = self.database.rows(
            """
            DELETE FROM content c
             WHERE created_at < clock_timestamp() - make_interval(secs => :seconds)
               AND NOT EXISTS (SELECT 1 FROM artifact a WHERE a.content_id = c.id) RETURNING id
            """,
            seconds=seconds,
        )
        return len(rows) + self._remove_files(seconds)

    def _keep(self, connection: Connection, content_id: str, content: _Content) -> None:
        """Make sure that a content is there; its row is locked until the transaction ends."""
        found = connection.execute(
            text("UPDATE content SET created_at = clock_timestamp() WHERE id = :id RETURNING file"),
            {"id": content_id},
        ).first()
        if found is not None and (found.file is None or (self.folder / found.file).is_file()):
            return
        envelope = Envelope()
        closed = envelope.close(content.bytes, content_id)
        file = self._write_file(closed) if len(content.bytes) > self._inline else None
        crash_point("after-artifact-file")
        connection.execute(
            text(
                """
                INSERT INTO content (id, size, secret, body, file)
                VALUES (:id, :size, :secret, :body, :file)
                ON CONFLICT (id) DO UPDATE SET secret = excluded.secret, body = excluded.body,
                                               file = excluded.file, created_at = clock_timestamp()
                """
            ),
            {
                "id": content_id,
                "size": len(content.bytes),
                "secret": self._vault.pack(envelope.secret.hex(), "content.secret", content_id),
                "body": closed if file is None else None,
                "file": file,
            },
        )

    def _address(self, sha256: str) -> str:
        """Return what a content is kept under.

        Where there are keys, nobody without them can tell whether a content that they know is there.
        """
        ring = self._vault.ring
        if not self._vault.is_closed or ring is None:
            return sha256
        return ring.sign("content", sha256.encode()).hex()

    def _write_file(self, closed: bytes) -> str:
        """Write a file that is durable when this returns; return its name."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid4().hex
        descriptor = os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(closed)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return name

    def _read_file(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise Unsealed(
                f"the content {name} cannot be read in {self.folder}: {error.strerror}; all machines "
                "must share the folder artifacts.folder"
            ) from error

    def _remove_files(self, seconds: float) -> int:
        if not self.folder.is_dir():
            return 0
        now = self.database.row("SELECT extract(epoch FROM clock_timestamp())::float AS now").now
        old = [file for file in self.folder.iterdir() if file.stat().st_mtime < now - seconds]
        rows = self.database.rows(
            "SELECT file FROM content WHERE file = ANY (:names)", names=[file.name for file in old]
        )
        known = {row.file for row in rows}
        gone = [file for file in old if file.name not in known]
        for file in gone:
            file.unlink(missing_ok=True)
        return len(gone)

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


@dataclass(frozen=True)
class _Content:
    sha256: str
    bytes: bytes
