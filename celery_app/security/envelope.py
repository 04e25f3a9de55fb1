"""`Envelope`: bytes enciphered with a key of their own (AES-256-GCM).

Invariant: a key enciphers one content, once. Whoever changes the key that seals everything else seals
that key anew, and leaves the enciphered bytes as they are.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from celery_app.errors import Unsealed

__all__ = ["Envelope"]

_KEY_BYTES = 32
#: The key is used once, so that nothing else has to be.
_NONCE = bytes(12)


@dataclass(frozen=True)
class Envelope:
    """A key for one content. `Envelope()` makes a new one."""

    secret: bytes = field(default_factory=lambda: os.urandom(_KEY_BYTES), repr=False)

    def close(self, content: bytes, place: str) -> bytes:
        """Return the content so that only the holder of the key can read it, and only at this place."""
        return AESGCM(self.secret).encrypt(_NONCE, content, place.encode())

    def open(self, closed: bytes, place: str) -> bytes:
        """Return what was closed for this place. Raises `Unsealed`."""
        try:
            return AESGCM(self.secret).decrypt(_NONCE, closed, place.encode())
        except InvalidTag as error:
            raise Unsealed("it was altered, or put where it does not belong") from error
