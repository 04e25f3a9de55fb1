"""`ProjectArtifact`: something that work has brought forth, and where it came from."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["ArtifactType", "ProjectArtifact"]


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
