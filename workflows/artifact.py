"""`ProjectArtifact`: something that work has brought forth, of a type, and where it came from."""

from __future__ import annotations

import csv
import io
import json
import mimetypes
from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from workflows.json_text import read_json

__all__ = ["ArtifactType", "ProjectArtifact", "content_of", "type_of"]


class ArtifactType(StrEnum):
    """What the bytes of an artifact are."""

    TEXT = "text"
    JSON = "json"
    TABLE = "table"
    IMAGE = "image"
    FILE = "file"


class ProjectArtifact(BaseModel):
    """What is known of an artifact; its content is read apart.

    `sha256` is of the content, `size` its bytes. `run` and `task` brought it forth from `inputs`,
    which are the sha256 of what they were given, by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: UUID
    namespace: str
    name: str
    type: ArtifactType
    sha256: str
    size: int
    run: UUID | None = None
    task: UUID | None = None
    inputs: dict[str, str] = Field(default_factory=dict)
    created_at: AwareDatetime


def content_of(result: Any) -> tuple[bytes, ArtifactType]:
    """Return the result of a task as the content of an artifact.

    A text is one; records that all have the same keys and plain values are a table (CSV); anything
    else is JSON.
    """
    if isinstance(result, str):
        return result.encode(), ArtifactType.TEXT
    if _is_table(result):
        return _csv(result).encode(), ArtifactType.TABLE
    return json.dumps(result, ensure_ascii=False, indent=2).encode(), ArtifactType.JSON


def type_of(name: str, content: bytes) -> ArtifactType:
    """Return what a file is, by its name and what stands in it."""
    kind = mimetypes.guess_type(name)[0] or ""
    if kind.startswith("image/"):
        return ArtifactType.IMAGE
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ArtifactType.FILE
    if "\0" in text:
        return ArtifactType.FILE
    if kind in ("text/csv", "text/tab-separated-values"):
        return ArtifactType.TABLE
    return ArtifactType.JSON if _is_json(text) else ArtifactType.TEXT


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _is_table(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        return False
    keys = value[0].keys()
    return bool(keys) and all(
        row.keys() == keys
        and all(cell is None or isinstance(cell, str | int | float) for cell in row.values())
        for row in value
    )


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
