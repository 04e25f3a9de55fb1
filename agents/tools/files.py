"""`read_file`: a text file below one of the allowed folders.

Invariant: what is read is a plain file whose real path stands below the real path of an allowed
folder, in the moment in which it is opened: every step of the way is opened without following links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from agents.errors import ToolFailed, ToolRefused

__all__ = ["FileReader", "from_start"]

_LONGEST_PATH = 1000


class FileReader:
    """Reads files of at most `largest` bytes below `folders`."""

    def __init__(self, folders: Sequence[Path], largest: int) -> None:
        self._folders = tuple(folders)
        self._largest = largest

    def read_file(self, path: str, start: int = 0) -> str:
        """Read a text file.

        Args:
            path: The file, as seen from an allowed folder.
            start: The letter to begin at.
        """
        if "\0" in path or not path.strip() or len(path) > _LONGEST_PATH:
            raise ToolRefused(f"{path[:80]!r} is no path of a file")
        fault: ToolFailed | None = None
        for folder in self._folders:
            root = Path(os.path.realpath(folder))
            real = Path(os.path.realpath(root / path))
            if not real.is_relative_to(root):
                continue
            try:
                return from_start(self._text(root, real, path), start)
            except ToolFailed as absent:
                fault = fault or absent
        raise fault or ToolRefused(f"{path!r} is not below an allowed folder")

    def _text(self, root: Path, real: Path, path: str) -> str:
        try:
            handle = _opened(root, real)
        except FileNotFoundError:
            raise ToolFailed(f"there is no file {path!r}") from None
        except OSError as error:
            raise ToolRefused(f"{path!r} cannot be opened: {error.strerror}") from None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ToolRefused(f"{path!r} is no plain file")
            content = _content(handle, self._largest + 1)
        finally:
            os.close(handle)
        if len(content) > self._largest:
            raise ToolRefused(f"{path!r} is larger than {self._largest} bytes (tools.largest)")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ToolFailed(f"{path!r} is not text in UTF-8") from None


def _opened(root: Path, real: Path) -> int:
    """Open a real path step by step; a link that has come into the way since is not followed."""
    safe = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    *folders, name = real.relative_to(root).parts or (".",)
    here = os.open(root, safe | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, safe | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        # A pipe would keep whoever opens it waiting for a writer.
        return os.open(name, safe | os.O_NONBLOCK, dir_fd=here)
    finally:
        os.close(here)


def _content(handle: int, most: int) -> bytes:
    content = b""
    while len(content) < most and (chunk := os.read(handle, most - len(content))):
        content += chunk
    return content


def from_start(text: str, start: int) -> str:
    """Return a text from a letter on; raise `ToolFailed` where there is nothing more."""
    if not 0 <= start <= len(text) or (start and start == len(text)):
        raise ToolFailed(f"it has {len(text)} letters: start at 0 to {max(0, len(text) - 1)}")
    return text[start:]
