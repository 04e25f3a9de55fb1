"""What a GGUF file says about itself: its header, read without loading the model.

Invariant: only the header is read; long lists (the vocabulary) are walked over, never kept.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

from celery_app.errors import ConfigurationError

__all__ = ["read_header"]

SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING = 8
ARRAY = 9


def read_header(path: Path) -> dict[str, Any]:
    """Return the key-value pairs of the file; a list is given as its length.

    Raises ConfigurationError when the file cannot be read or is no GGUF.
    """
    try:
        with path.open("rb") as file:
            return _read_pairs(file)
    except (OSError, ValueError, LookupError, OverflowError, struct.error) as error:
        raise ConfigurationError(
            f"{path} is not a usable GGUF file ({error}): name another in AI_AGENT_MODEL_FILE"
        ) from error


def _read_pairs(file: BinaryIO) -> dict[str, Any]:
    magic, version, _tensors, pairs = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < 2:
        raise ValueError("it begins with other bytes than GGUF version 2 or later")
    return {_read_string(file): _read_value(file, _read_number(file, "I")) for _ in range(pairs)}


def _read_value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _read_string(file)
    if kind == ARRAY:
        return _skip_list(file)
    return _read_number(file, SCALARS[kind])


def _skip_list(file: BinaryIO) -> int:
    kind, length = struct.unpack("<IQ", file.read(12))
    if kind == STRING:
        for _ in range(length):
            file.seek(_read_number(file, "Q"), 1)
    else:
        file.seek(length * struct.calcsize(SCALARS[kind]), 1)
    return int(length)


def _read_string(file: BinaryIO) -> str:
    length = _read_number(file, "Q")
    if length > os.fstat(file.fileno()).st_size:
        raise ValueError("it tells of a text longer than itself")
    return file.read(length).decode("utf-8", "replace")


def _read_number(file: BinaryIO, form: str) -> Any:
    (number,) = struct.unpack(f"<{form}", file.read(struct.calcsize(form)))
    return number
