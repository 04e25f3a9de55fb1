"""`Signer`: signs what vouches for the journals, and tells what a signature is worth."""

from __future__ import annotations

import time
from enum import StrEnum

from celery_app.security.keys import KeyRing, key_id_of

__all__ = ["Signer", "Worth"]

_PURPOSE = "audit"
#: A first key is copied to every machine within a day (microseconds); until then some may not sign.
_GRACE = 86_400_000_000


class Worth(StrEnum):
    """What a signature is worth."""

    GOOD = "good"
    FORGED = "forged"
    #: Its key is not here.
    UNKNOWN = "unknown"
    #: There is none, and none could be expected.
    NONE = "none"
    #: There is none, although there was a key.
    MISSING = "missing"
    #: Nothing can be told: there are no keys here.
    UNCHECKED = "unchecked"


class Signer:
    """Signs with the newest key of a ring.

    Args:
        ring: The keys; without any, nothing is signed.
    """

    def __init__(self, ring: KeyRing | None) -> None:
        self._ring = ring

    def sign(self, statement: bytes) -> bytes | None:
        """Return the signature of a statement; None without a key."""
        if self._ring is None or self._ring.current is None:
            return None
        return self._ring.sign(_PURPOSE, statement)

    def is_newest(self, signature: bytes | None) -> bool:
        """Tell whether signing again would not be done with another key."""
        current = self._ring.current if self._ring is not None else None
        return current is None or (signature is not None and key_id_of(signature) == current.id)

    def worth(self, statement: bytes, signature: bytes | None, at: int | None = None) -> Worth:
        """Tell what a signature is worth.

        Args:
            statement: What it is to vouch for.
            signature: What was found.
            at: When it is said to have been made (microseconds since 1970). None: whatever is said, it
                had to be signed anew by now. Whoever forges a moment can put it before the first key.
        """
        keys = [] if self._ring is None else self._ring.all()
        if self._ring is None or not keys:
            return Worth.NONE if signature is None else Worth.UNCHECKED
        if signature is None:
            first = round(keys[0].created_at.timestamp() * 1_000_000)
            at = round(time.time() * 1_000_000) if at is None else at
            return Worth.MISSING if at < 0 or at > first + _GRACE else Worth.NONE
        if self._ring.verifies(_PURPOSE, statement, signature):
            return Worth.GOOD
        known = {key.id for key in keys}
        return Worth.FORGED if key_id_of(signature) in known | {None} else Worth.UNKNOWN
