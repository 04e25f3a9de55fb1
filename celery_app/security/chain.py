"""The hash chain over a journal: digests of rows, stretches, checkpoints and heads.

Invariants
  * What is hashed or signed is a JSON list whose first entry says what it is: two different lists
    never have the same bytes.
  * The digest of a stretch covers each of its rows, its own facts, and through the digest of the
    stretch before it everything since the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

__all__ = [
    "BEGINNING",
    "Checkpoint",
    "Difference",
    "Head",
    "Stretch",
    "Value",
    "differences",
    "digest_of_row",
    "encode_row",
    "marks_of",
]

Value = int | str | bool | None
"""What a column of a journal may hold; moments are microseconds since 1970, in UTC."""

#: What the first stretch has in place of the digest before it.
BEGINNING = bytes(32)
_MARK_BYTES = 8

_encode = json.JSONEncoder(separators=(",", ":")).encode


def encode_row(journal: str, values: Sequence[Value]) -> bytes:
    """Return a row as bytes; no other row of any journal has the same."""
    return _encode(["row", journal, *values]).encode("ascii")


def digest_of_row(journal: str, values: Sequence[Value]) -> bytes:
    """Return the sha256 of a row."""
    return sha256(encode_row(journal, values)).digest()


def marks_of(row_digests: Sequence[bytes]) -> bytes:
    """Return what is kept of each row's digest, enough to tell which row was altered."""
    return b"".join(digest[:_MARK_BYTES] for digest in row_digests)


@dataclass(frozen=True)
class Stretch:
    """A closed stretch of a journal: the rows of the transactions from `from_xact` up to `to_xact`.

    Attributes:
        journal: The table.
        number: 1, 2, 3 and so on.
        from_xact: The first transaction that may be in it.
        to_xact: The first one that is not.
        first_id: The id of its first row, in the order of transactions.
        last_id: And of its last.
        row_count: How many rows it has.
        sealed_at: When it was closed (microseconds since 1970).
        previous: The digest of the stretch before it.
    """

    journal: str
    number: int
    from_xact: int
    to_xact: int
    first_id: int
    last_id: int
    row_count: int
    sealed_at: int
    previous: bytes

    def digest(self, row_digests: Sequence[bytes]) -> bytes:
        """Return the digest of this stretch with those rows."""
        facts = ["stretch", self.journal, self.number, self.from_xact, self.to_xact]
        facts += [self.first_id, self.last_id, self.row_count, self.sealed_at]
        return sha256(self.previous + _encode(facts).encode() + b"".join(row_digests)).digest()


def stretch_statement(journal: str, number: int, digest: bytes) -> bytes:
    """Return what is signed of a stretch; its digest covers the rest."""
    return _encode(["stretch", journal, number, digest.hex()]).encode()


@dataclass(frozen=True)
class Checkpoint:
    """What retention has cut: all stretches up to `number`, which ended before `to_xact`."""

    journal: str
    number: int
    to_xact: int
    digest: bytes
    rows_cut: int
    at: int

    def statement(self) -> bytes:
        """Return what is signed."""
        facts = ["checkpoint", self.journal, self.number, self.to_xact, self.digest.hex()]
        return _encode([*facts, self.rows_cut, self.at]).encode()


@dataclass(frozen=True)
class Head:
    """The newest stretch of a journal, and its newest checkpoint (`cut`; 0 if there is none)."""

    journal: str
    number: int
    to_xact: int
    digest: bytes
    cut: int
    at: int

    def statement(self) -> bytes:
        """Return what is signed."""
        facts = ["head", self.journal, self.number, self.to_xact, self.digest.hex()]
        return _encode([*facts, self.cut, self.at]).encode()


@dataclass(frozen=True)
class Difference:
    """A row that is not as it was sealed.

    Attributes:
        what: ``altered``, ``removed`` or ``added``.
        row: The place of the row among those that are there; for a removed row the place before it
            (-1 at the beginning).
    """

    what: str
    row: int


def differences(marks: bytes, row_digests: Sequence[bytes]) -> Iterator[Difference]:
    """Compare the rows that are there with the marks of those that were sealed.

    What was not touched is there in the same order: so between two such rows, as many as are both
    gone and new were altered.
    """
    sealed = [marks[at : at + _MARK_BYTES] for at in range(0, len(marks), _MARK_BYTES)]
    places = {mark: place for place, mark in enumerate(sealed)}
    gone_from, fresh = 0, []
    for row, digest in enumerate(row_digests):
        place = places.get(digest[:_MARK_BYTES], -1)
        if place < gone_from:
            fresh.append(row)
            continue
        yield from _between(place - gone_from, fresh, row)
        gone_from, fresh = place + 1, []
    yield from _between(len(sealed) - gone_from, fresh, len(row_digests))


def _between(gone: int, fresh: Sequence[int], next_row: int) -> Iterator[Difference]:
    for row in fresh[:gone]:
        yield Difference("altered", row)
    for row in fresh[gone:]:
        yield Difference("added", row)
    for _ in range(gone - len(fresh)):
        yield Difference("removed", next_row - 1)
