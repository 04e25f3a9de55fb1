"""`Vault`: values as the bytes that are stored or sent, sealed where there are keys.

Invariants
  * What cannot be stored faithfully is refused before anything is written.
  * A sealed value opens only at its place: the column and the key of its row, or the message that it
    is. Moved anywhere else it is refused, as it is when a bit of it was changed.
  * With keys nothing unsealed is believed; whoever can write to the database could have put it there.
"""

from __future__ import annotations

from typing import Any

from kombu.utils.json import dumps, loads

from celery_app.errors import Unsealed, Unstorable
from celery_app.security.keys import KeyRing, key_id_of
from workflows.storable import shape_fault

__all__ = ["Vault", "decode", "encode"]


def encode(value: Any) -> bytes:
    """Return a value as JSON.

    Raises:
        Unstorable: The value has a part that JSON cannot carry.
    """
    fault = shape_fault(value)
    if fault is None:
        try:
            text: str = dumps(value)
            return text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            fault = str(error)
    raise Unstorable(
        f"cannot store a {type(value).__name__}: {fault}; return JSON values "
        "(numbers, texts, lists, dicts, dates, UUIDs)"
    )


def decode(data: bytes) -> Any:
    """Return the value that was encoded."""
    return loads(data)


class Vault:
    """Packs and unpacks values.

    Args:
        ring: The keys. Without a ring, and while it has no key that seals, values stay in clear.
        sealing: False leaves new values in clear; what is sealed opens still.
    """

    def __init__(self, ring: KeyRing | None = None, *, sealing: bool = True) -> None:
        self.ring = ring
        self._sealing = sealing

    def __repr__(self) -> str:
        return f"Vault({self.ring!r})"

    @property
    def is_closed(self) -> bool:
        """Whether values are sealed."""
        return self._sealing and self.ring is not None and self.ring.current is not None

    def pack(self, value: Any, column: str, *key: object) -> bytes:
        """Return a value as the bytes for a column (``task.result``) of the row with that key.

        Raises:
            Unstorable: The value has a part that JSON cannot carry.
        """
        return self.seal(encode(value), column, *key)

    def unpack(self, stored: bytes | memoryview | None, column: str, *key: object) -> Any:
        """Return the value that was packed for that place (None for an empty column).

        Raises:
            Unsealed: The bytes are not what was sealed there.
        """
        return None if stored is None else decode(self.open(stored, column, *key))

    def seal(self, clear: bytes, column: str, *key: object) -> bytes:
        """Return bytes as they are to be stored at a place."""
        if self.ring is None or not self.is_closed:
            return clear
        return self.ring.seal(clear, _place(column, key))

    def open(self, stored: bytes | memoryview, column: str, *key: object) -> bytes:
        """Return the bytes that were sealed for a place. Raises `Unsealed`."""
        data = bytes(stored)
        if key_id_of(data) is None and not self.is_closed:
            return data
        row = "/".join(map(str, key))
        if self.ring is None:
            raise Unsealed(f"{column} of {row} is sealed, and no keys are configured here")
        try:
            return self.ring.open(data, _place(column, key))
        except Unsealed as error:
            raise Unsealed(f"{column} of {row} cannot be opened: {error}") from error


def _place(column: str, key: tuple[object, ...]) -> bytes:
    # No name in Postgres has this character, so two places never read the same.
    return "\0".join((column, *map(str, key))).encode()
