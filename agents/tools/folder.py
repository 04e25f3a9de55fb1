"""A folder of source files, read for documents.

Invariant: what is read are plain files of allowed kinds that stand in the folder itself: no link is
followed, nothing hidden is looked at, and nothing is run.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from workflows.errors import InvalidDocument

__all__ = ["package_of", "read_folder"]

#: What is read besides Python.
ALLOWED = (
    ".md", ".rst", ".txt", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".sql", ".sh", ".js", ".css", ".html",
)  # fmt: skip
NAMES = ("Makefile", "Dockerfile", "LICENSE")
#: Folders that hold what was made or fetched, not written.
PASSED_OVER = ("__pycache__", "node_modules", "build", "dist", "venv")
MOST_FILES = 2000
MOST_BYTES = 20_000_000
LARGEST_FILE = 1_000_000


def read_folder(folder: Path) -> dict[str, str]:
    """Return the texts of the files below a folder, by their paths as seen from it.

    Raises:
        InvalidDocument: It is no folder, has nothing to read, or more than is read.
    """
    if not folder.is_dir():
        raise InvalidDocument(f"{folder} is no folder: give one with source files by --source")
    found: dict[str, str] = {}
    size = 0
    for above, folders, names, here in os.fwalk(folder, follow_symlinks=False):
        folders[:] = sorted(name for name in folders if _is_wanted_folder(name))
        for name in sorted(filter(_is_wanted, names)):
            text = _text(name, here)
            if text is None:
                continue
            found[os.path.relpath(os.path.join(above, name), folder)] = text
            size += len(text)
            if len(found) > MOST_FILES or size > MOST_BYTES:
                raise InvalidDocument(
                    f"{folder} has more than {MOST_FILES:,} source files or {MOST_BYTES:,} characters: "
                    "give a folder inside it"
                )
    if not found:
        raise InvalidDocument(f"{folder} has no source files: give a folder with Python files")
    return found


def package_of(folder: Path) -> str:
    """Return what a folder is imported as; nothing if it is no package."""
    parts: list[str] = []
    here = folder.resolve()
    while (here / "__init__.py").is_file() and here.name.isidentifier():
        parts.insert(0, here.name)
        here = here.parent
    return ".".join(parts)


def _is_wanted_folder(name: str) -> bool:
    return not name.startswith(".") and name not in PASSED_OVER and not name.endswith(".egg-info")


def _is_wanted(name: str) -> bool:
    if name.startswith("."):
        return False
    return name.endswith((".py", *ALLOWED)) or name in NAMES


def _text(name: str, here: int) -> str | None:
    """Return the text of a file in an open folder; None for what is no text, or too long."""
    # A pipe would keep whoever opens it waiting for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=here)
    except OSError:
        return None
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE or b"\0" in content:
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
