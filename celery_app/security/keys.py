"""`KeyRing`: the AES-256-GCM keys of a folder. New values are sealed under one, all of them open.

Invariants
  * A key file is its owner's alone (mode 0600), is written whole or not at all, and never changes.
  * The file ``current`` is the only word on which key seals. A key that it has not named yet opens
    already: so it can be handed to every machine before the first of them uses it.
  * No key is ever part of a text: not of a repr, an error or a log.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from celery_app.errors import ConfigurationError, Unsealed
from celery_app.redaction import keep_secret

__all__ = ["Key", "KeyRing", "key_id_of"]

#: First byte of what is sealed; no JSON text begins so.
_FORMAT = b"\x01"
_ID_BYTES, _NONCE_BYTES = 4, 12
_HEADER_BYTES = len(_FORMAT) + _ID_BYTES
_KEY_BYTES = 32
#: A key that another process adds or appoints is known here after so many seconds.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Key:
    """One key: its id (8 hexadecimal digits), when it was made, and 32 secret bytes."""

    id: str
    created_at: datetime
    secret: bytes = field(repr=False)

    @property
    def order(self) -> tuple[datetime, str]:
        """What puts keys in the order in which they were made."""
        return self.created_at, self.id

    @cached_property
    def cipher(self) -> AESGCM:
        """What seals and opens with this key."""
        return AESGCM(self.secret)

    @cached_property
    def header(self) -> bytes:
        """What a value sealed with this key begins with."""
        return _FORMAT + bytes.fromhex(self.id)

    def derived(self, purpose: str) -> bytes:
        """Return 32 bytes for a use of their own, by HKDF (RFC 5869)."""
        info = b"ai-agent " + purpose.encode()
        return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(self.secret)


def key_id_of(stored: bytes) -> str | None:
    """Return the id of the key that a value is sealed under; None if it is not sealed."""
    if not stored.startswith(_FORMAT):
        return None
    return stored[len(_FORMAT) : _HEADER_BYTES].hex()


class KeyRing:
    """The keys of one folder, as they are now: what another process adds is seen within a second.

    Args:
        folder: Where they are; a folder that is not there is a ring without keys.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._keys: dict[str, Key] = {}
        self._current: str | None = None
        self._seen: tuple[int, ...] = ()
        self._looked_at = -_LOOK_SECONDS
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"KeyRing({str(self.folder)!r})"

    @property
    def current(self) -> Key | None:
        """The key that seals; None while there is none.

        Raises:
            ConfigurationError: The folder or a file in it is not as it must be.
        """
        if time.monotonic() >= self._looked_at + _LOOK_SECONDS:
            self._look()
        return None if self._current is None else self._keys[self._current]

    def all(self) -> list[Key]:
        """Return all keys, the oldest first."""
        self._look()
        return sorted(self._keys.values(), key=lambda key: key.order)

    def seal(self, value: bytes, place: bytes) -> bytes:
        """Return a value so that only holders of the key can read it, and only at this place.

        Raises:
            ConfigurationError: There is no key.
        """
        key = self.current
        if key is None:
            raise ConfigurationError(
                f"there is no key in {self.folder}: `ai-agent keys create` makes one"
            )
        nonce = os.urandom(_NONCE_BYTES)
        return key.header + nonce + key.cipher.encrypt(nonce, value, key.header + place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Return what was sealed for this place.

        Raises:
            Unsealed: It was altered, belongs elsewhere, is not sealed at all, or its key is not here.
        """
        key = self._key(key_id_of(sealed))
        header, rest = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES:]
        try:
            return key.cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + place)
        except (InvalidTag, ValueError) as error:
            raise Unsealed("it was altered, or put where it does not belong") from error

    def sign(self, purpose: str, data: bytes) -> bytes:
        """Return a signature of `data` (HMAC-SHA256), which tells the id of its key."""
        key = self.current
        if key is None:
            raise ConfigurationError(
                f"there is no key in {self.folder} to sign with: `ai-agent keys create` makes one"
            )
        return key.header + _mac(key, purpose, data).finalize()

    def verifies(self, purpose: str, data: bytes, signature: bytes) -> bool:
        """Tell whether a signature was made by a key of this ring, for this purpose and `data`."""
        try:
            key = self._key(key_id_of(signature))
            _mac(key, purpose, data).verify(signature[_HEADER_BYTES:])
        except (Unsealed, InvalidSignature):
            return False
        return True

    # Changing the ring

    def add(self) -> Key:
        """Make a key that opens but does not seal yet, and return it."""
        self._make_folder()
        now = datetime.now(UTC)
        key = Key(secrets.token_hex(_ID_BYTES), now, AESGCM.generate_key(bit_length=256))
        told = {
            "id": key.id,
            "algorithm": "AES-256-GCM",
            "created_at": now.isoformat(),
            "key": base64.b64encode(key.secret).decode(),
        }
        _write(self.folder / f"{key.id}.key", json.dumps(told, indent=1) + "\n")
        keep_secret(told["key"], key.secret.hex())
        self._look()
        return key

    def appoint(self, key: Key) -> None:
        """Let everything be sealed under this key from now on."""
        _write(self.folder / "current", key.id + "\n")
        self._look()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder for keys {self.folder} cannot be made ({error.strerror}): "
                "correct security.encryption.key_path"
            ) from error

    # Reading the folder

    def _key(self, key_id: str | None) -> Key:
        if key_id is None:
            raise Unsealed("it is not sealed: `ai-agent keys reseal --plain` seals what is older")
        if key_id not in self._keys:
            self._look()
        if key_id not in self._keys:
            raise Unsealed(f"it is sealed under key {key_id}, which is not in {self.folder}")
        return self._keys[key_id]

    def _look(self) -> None:
        with self._lock:
            seen = _marks(self.folder)
            if seen != self._seen:
                keys, current = _read(self.folder)
                # A folder that is gone must not make anybody write in clear.
                if current is not None or self._current is None:
                    self._keys, self._current = keys, current
                self._seen = seen
            self._looked_at = time.monotonic()


def _marks(folder: Path) -> tuple[int, ...]:
    """Return what differs as soon as a file of the folder is another one."""
    marks: list[int] = []
    for path in (folder, folder / "current"):
        with contextlib.suppress(OSError):
            found = path.stat()
            marks += [found.st_mtime_ns, found.st_ino]
    return tuple(marks)


def _read(folder: Path) -> tuple[dict[str, Key], str | None]:
    paths = sorted(folder.glob("*.key"))
    if paths:
        _refuse_open(folder)
    keys = {key.id: key for key in map(_read_key, paths)}
    try:
        current = (folder / "current").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return keys, None
    if current not in keys:
        raise ConfigurationError(
            f"{folder / 'current'} names key {current!r}, which is not there: bring its file back, "
            "or let `ai-agent keys rotate` appoint another one"
        )
    return keys, current


def _read_key(path: Path) -> Key:
    _refuse_open(path)
    try:
        told = json.loads(path.read_text(encoding="ascii"))
        secret = base64.b64decode(told["key"], validate=True)
        key = Key(told["id"], datetime.fromisoformat(told["created_at"]), secret)
        right = path.stem == key.id and len(bytes.fromhex(key.id)) == _ID_BYTES
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        # Not what the error says: it may quote the file.
        raise ConfigurationError(
            f"{path} is no key ({type(error).__name__}): bring it back from where you keep a copy"
        ) from None
    keep_secret(told["key"], secret.hex())
    if not right or len(secret) != _KEY_BYTES:
        raise ConfigurationError(f"{path} is no key: bring it back from where you keep a copy")
    return key


def _refuse_open(path: Path) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        closed = "700" if path.is_dir() else "600"
        raise ConfigurationError(
            f"{path} may be read by others (mode {mode:o}): `chmod {closed} {path}`"
        )


def _mac(key: Key, purpose: str, data: bytes) -> HMAC:
    mac = HMAC(key.derived(f"sign {purpose}"), SHA256())
    mac.update(data)
    return mac


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from error
