"""Text files from outside, read with a limit.

Invariant: never more than the limit is read, whatever the file is (a device has no size of its own).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["LONGEST_FILE", "read_text", "text_of"]

#: Bytes of the largest file that is read: an input, a graph of tasks, a file of settings.
LONGEST_FILE = 1_000_000


def read_text(path: Path, most: int = LONGEST_FILE) -> str:
    """Return the text of a file in UTF-8, of at most `most` bytes.

    Raises ValueError that says, as the end of a sentence, why it cannot be read and what to do.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        # A path may hold what no name of a file can.
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot be read: {reason}; give a readable file") from error
    return text_of(content, most)


def text_of(content: bytes, most: int = LONGEST_FILE) -> str:
    """Return the text that the bytes of a file are; raises as `read_text`."""
    if len(content) > most:
        raise ValueError(f"has more than {most:,} bytes, which is the most that is read: split it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"is not text in UTF-8 (byte {error.start}); convert it to text first"
        ) from error
