"""Journals, and the stretches, checkpoints and heads that vouch for them.

Invariant: the order of a journal is that of (xact, id). Rows of a transaction below `final_before` are
all there, and no further one can come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from celery_app.postgres.connection import Database
from celery_app.security.chain import Checkpoint, Head, Stretch
from celery_app.store.journals import MICROSECONDS, NUMBER, Journal, Row

__all__ = ["AuditStore", "SealedStretch"]

_LOCK = 0x41474154
_BATCH = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class SealedStretch:
    """A stretch as it stands in the database."""

    facts: Stretch
    digest: bytes
    marks: bytes
    signature: bytes | None


class AuditStore:
    """What vouches for the journals.

    Args:
        database: Where all of it lies.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def lock(self, *, wait: bool) -> Iterator[bool]:
        """Keep every other sealer, verifier and pruner out; tell whether that was to be had."""
        with self.database.session() as session:
            if wait:
                session.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
            elif not session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
                yield False
                return
            try:
                yield True
            finally:
                session.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})

    def now(self) -> int:
        """Return the database's clock (microseconds since 1970)."""
        moment: datetime = self.database.row("SELECT clock_timestamp() AS now").now
        return (moment - _EPOCH) // timedelta(microseconds=1)

    def final_before(self) -> int:
        """Return the transaction below which every transaction has ended."""
        row = self.database.row(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS final"
        )
        return int(row.final)

    # Reading

    def end_of_next(self, journal: Journal, from_xact: int, final: int, size: int) -> int | None:
        """Return where a stretch from `from_xact` on ends, at about `size` rows; None if it is empty."""
        row = self.database.row(
            f"""
            SELECT max(xact::text::bigint) AS last, count(*) AS n FROM (
                SELECT xact FROM {journal.table}
                 WHERE xact >= CAST(:from_xact AS xid8) AND xact < CAST(:final AS xid8)
                 ORDER BY xact, id LIMIT :size) AS found
            """,
            from_xact=str(from_xact),
            final=str(final),
            size=size,
        )
        if row.n == 0:
            return None
        return int(row.last) + 1 if row.n == size else final

    def rows(self, journal: Journal, from_xact: int, to_xact: int | None = None) -> Iterator[Row]:
        """Yield the rows of the transactions from one up to another, in order."""
        after = (str(from_xact), -(2**63))
        while True:
            rows = self.database.rows(
                f"""
                SELECT {journal.selected} FROM {journal.table}
                 WHERE (xact, id) > (CAST(:xact AS xid8), :id)
                   AND (:to_xact IS NULL OR xact < CAST(:to_xact AS xid8))
                 ORDER BY {journal.table}.xact, {journal.table}.id LIMIT {_BATCH}
                """,
                xact=after[0],
                id=after[1],
                to_xact=None if to_xact is None else str(to_xact),
            )
            yield from rows
            if len(rows) < _BATCH:
                return
            after = (str(rows[-1].xact), rows[-1].id)

    def count_from(self, journal: Journal, from_xact: int) -> int:
        """Return how many rows a journal has from a transaction on."""
        row = self.database.row(
            f"SELECT count(*) AS n FROM {journal.table} WHERE xact >= CAST(:xact AS xid8)",
            xact=str(from_xact),
        )
        return int(row.n)

    def in_use(self, journal: Journal, from_xact: int, to_xact: int) -> bool:
        """Tell whether retention must leave a row of these transactions for now."""
        row = self.database.row(
            f"""
            SELECT EXISTS (
                SELECT FROM {journal.table} j
                 WHERE xact >= CAST(:from_xact AS xid8) AND xact < CAST(:to_xact AS xid8)
                   AND {journal.in_use}) AS found
            """,
            from_xact=str(from_xact),
            to_xact=str(to_xact),
        )
        return bool(row.found)

    def head(self, journal: Journal) -> tuple[Head, bytes | None] | None:
        """Return what is remembered of the newest stretch, and the signature of it."""
        found = self._select("audit_head", journal, "cut", at="at")
        if not found:
            return None
        row = found[0]
        head = Head(
            journal.table, row.number, int(row.to_xact), bytes(row.digest), row.cut, _moment(row.at)
        )
        return head, _bytes(row.signature)

    def checkpoints(self, journal: Journal) -> list[tuple[Checkpoint, bytes | None]]:
        """Return all checkpoints with their signatures, the oldest first."""
        return [
            (
                Checkpoint(
                    journal.table,
                    row.number,
                    int(row.to_xact),
                    bytes(row.digest),
                    row.rows_cut,
                    _moment(row.at),
                ),
                _bytes(row.signature),
            )
            for row in self._select("checkpoint", journal, "rows_cut", at="at")
        ]

    def stretches(self, journal: Journal, after: int = 0) -> Iterator[SealedStretch]:
        """Yield the stretches behind the one with a number, in order."""
        more = f"{NUMBER.format('from_xact')}, first_id, last_id, row_count, marks, previous"
        while True:
            rows = self._select("stretch", journal, more, at="sealed_at", after=after, limit=20)
            for row in rows:
                facts = Stretch(
                    journal.table, row.number, int(row.from_xact), int(row.to_xact), row.first_id,
                    row.last_id, row.row_count, _moment(row.sealed_at), bytes(row.previous),
                )  # fmt: skip
                yield SealedStretch(
                    facts, bytes(row.digest), bytes(row.marks), _bytes(row.signature)
                )
                after = row.number
            if len(rows) < 20:
                return

    def _select(
        self, table: str, journal: Journal, more: str, *, at: str, after: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Any]:  # fmt: skip
        return self.database.rows(
            f"""
            SELECT number, {NUMBER.format("to_xact")}, digest, signature, {MICROSECONDS.format(at)}, {more}
              FROM {table} WHERE journal = :journal AND (:after IS NULL OR number > :after)
             ORDER BY number LIMIT :limit
            """,
            journal=journal.table,
            after=after,
            limit=limit,
        )

    def digest_of(self, journal: Journal, number: int) -> bytes | None:
        """Return the digest of a stretch; None if it is not there."""
        row = self.database.row(
            "SELECT digest FROM stretch WHERE journal = :journal AND number = :number",
            journal=journal.table,
            number=number,
        )
        return None if row is None else bytes(row.digest)

    # Writing

    def add(self, sealed: SealedStretch, head: Head, signature: bytes | None) -> None:
        """Add a stretch, which is the newest from now on."""
        facts = sealed.facts

        def work(connection: Connection) -> None:
            if _is_done(
                connection, "stretch", facts.journal, facts.number, sealed_at=facts.sealed_at
            ):
                return
            _insert(
                connection,
                "stretch",
                journal=facts.journal, number=facts.number, from_xact=facts.from_xact,
                to_xact=facts.to_xact, first_id=facts.first_id, last_id=facts.last_id,
                row_count=facts.row_count, marks=sealed.marks, previous=facts.previous,
                digest=sealed.digest, sealed_at=facts.sealed_at, signature=sealed.signature,
            )  # fmt: skip
            _set_head(connection, head, signature)

        self.database.transaction(work)

    def set_head(self, head: Head, signature: bytes | None) -> None:
        """Remember a newest stretch in place of the one before."""
        self.database.transaction(lambda connection: _set_head(connection, head, signature))

    def cut(
        self,
        checkpoint: Checkpoint,
        signature: bytes | None,
        head: Head,
        head_signature: bytes | None,
        check: Callable[[int], None],
    ) -> None:
        """Delete everything before a checkpoint, and add that.

        Args:
            checkpoint: Where to cut.
            signature: Of the checkpoint.
            head: What is remembered from now on.
            head_signature: Of that.
            check: Is told how many rows are deleted; nothing is if it raises.
        """

        def work(connection: Connection) -> None:
            journal, number = checkpoint.journal, checkpoint.number
            if _is_done(connection, "checkpoint", journal, number, at=checkpoint.at):
                return
            connection.execute(text("SELECT set_config('ai_agent.cut', 'on', true)"))
            deleted = connection.execute(
                text(f"DELETE FROM {checkpoint.journal} WHERE xact < CAST(:xact AS xid8)"),
                {"xact": str(checkpoint.to_xact)},
            )
            check(deleted.rowcount)
            connection.execute(
                text("DELETE FROM stretch WHERE journal = :journal AND number <= :number"),
                {"journal": checkpoint.journal, "number": checkpoint.number},
            )
            _insert(
                connection,
                "checkpoint",
                journal=checkpoint.journal, number=checkpoint.number, to_xact=checkpoint.to_xact,
                digest=checkpoint.digest, rows_cut=checkpoint.rows_cut, at=checkpoint.at,
                signature=signature,
            )  # fmt: skip
            _set_head(connection, head, head_signature)

        self.database.transaction(work)


def _is_done(connection: Connection, table: str, journal: str, number: int, **moment: int) -> bool:
    """Tell whether this very row is there: it was committed, and only the answer was lost."""
    [(column, at)] = moment.items()
    found = connection.scalar(
        text(
            f"SELECT true FROM {table} WHERE journal = :journal AND number = :number AND {column} = :at"
        ),
        {"journal": journal, "number": number, "at": _EPOCH + timedelta(microseconds=at)},
    )
    return found is not None


def _set_head(connection: Connection, head: Head, signature: bytes | None) -> None:
    connection.execute(
        text("DELETE FROM audit_head WHERE journal = :journal"), {"journal": head.journal}
    )
    _insert(
        connection,
        "audit_head",
        journal=head.journal, number=head.number, to_xact=head.to_xact, digest=head.digest,
        cut=head.cut, at=head.at, signature=signature,
    )  # fmt: skip


def _insert(connection: Connection, table: str, **values: Any) -> None:
    for name in ("at", "sealed_at"):
        if name in values:
            values[name] = _EPOCH + timedelta(microseconds=values[name])
    for name in ("from_xact", "to_xact"):
        if name in values:
            values[name] = str(values[name])
    columns = ", ".join(values)
    given = ", ".join(
        f"CAST(:{name} AS xid8)" if name.endswith("_xact") else f":{name}" for name in values
    )
    connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({given})"), values)


def _moment(text: str) -> int:
    """Return a moment as a number; -1 for one that no clock shows."""
    return int(text) if text.lstrip("-").isdecimal() else -1


def _bytes(value: memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)
