"""Payload columns: a Python value as bytes, and back.

Invariant: what cannot be stored faithfully is refused before anything is written.
"""

from __future__ import annotations

from typing import Any

from kombu.utils.json import dumps, loads

from celery_app.errors import AgentSystemError


def pack(value: Any) -> bytes:
    """Return a value as stored bytes.

    Raises:
        AgentSystemError: The value has a part that JSON cannot carry.
    """
    try:
        packed: str = dumps(value)
    except (TypeError, ValueError) as error:
        raise AgentSystemError(
            f"cannot store a {type(value).__name__}: {error}; return JSON values "
            "(numbers, texts, lists, dicts, dates, UUIDs)"
        ) from error
    return packed.encode()


def unpack(stored: bytes | memoryview | None) -> Any:
    """Return the value that was packed (None for an empty column)."""
    return None if stored is None else loads(bytes(stored))
