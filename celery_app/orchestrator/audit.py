"""Seal what is closed of the journals, and cut what is old.

Invariants
  * One process does it at a time, and never in a transaction of a task.
  * Nothing is built on a head whose signature is not right, or that leaves out what this process has
    seen, and nothing is cut that is not as it was sealed: otherwise the next signature would bless what
    somebody forged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from celery_app.errors import JournalAltered
from celery_app.security.chain import (
    BEGINNING,
    Checkpoint,
    Head,
    Stretch,
    digest_of_row,
    marks_of,
    stretch_statement,
)
from celery_app.security.signer import Signer, Worth
from celery_app.store.audit import AuditStore, SealedStretch
from celery_app.store.journals import JOURNALS, Journal, id_of

__all__ = ["Keeper", "Kept"]

logger = logging.getLogger(__name__)

#: Rows of a stretch; more only if one transaction wrote more.
STRETCH_ROWS = 10_000
#: Stretches that are cut in one transaction.
_CUT = 20
_DAY = 86_400_000_000


@dataclass
class Kept:
    """What was done: stretches, and the rows in them."""

    stretches: int = 0
    rows: int = 0


class Keeper:
    """Seals and cuts the journals of a database.

    Args:
        store: The journals and what vouches for them.
        signer: Signs.
        journals: Which journals.
        stretch_rows: How long a stretch becomes, at about.
    """

    def __init__(
        self,
        store: AuditStore,
        signer: Signer,
        journals: tuple[Journal, ...] = JOURNALS,
        stretch_rows: int = STRETCH_ROWS,
    ) -> None:
        self.store = store
        self._signer = signer
        self._journals = journals
        self._stretch_rows = stretch_rows
        self._seen: dict[str, Head] = {}

    def look(self, interval: float, retention_days: float | None) -> bool:
        """Seal one stretch of each journal that is due, and cut some of what is too old.

        Every worker calls this; whoever comes too early or second does nothing.

        Args:
            interval: Seconds between two stretches.
            retention_days: For how long rows are kept; None: for ever.

        Returns:
            Whether there is more to do at once.
        """
        more = False
        with self.store.lock(wait=False) as mine:
            for journal in self._journals if mine else ():
                try:
                    more |= self._look_at(journal, interval, retention_days)
                except JournalAltered as error:
                    # The other journals are sealed all the same.
                    logger.critical("%s", error)
        return more

    def _look_at(self, journal: Journal, interval: float, days: float | None) -> bool:
        found = self.store.head(journal)
        full = False
        # A head from the future is no right one: sealing tells so.
        if found is None or not 0 <= self.store.now() - found[0].at < interval * 1_000_000:
            sealed = next(self._seal(journal, accept=False), None)
            full = sealed is not None and sealed.facts.row_count >= self._stretch_rows
        if days is not None:
            full |= self._cut(journal, days).stretches == _CUT
        return full

    def seal(
        self, *, accept: bool = False, on_done: Callable[[int], None] = lambda _: None
    ) -> Kept:
        """Seal everything that is closed.

        Args:
            accept: Sign the head as it stands even if its signature is not right.
            on_done: Called with the number of rows, stretch by stretch.

        Raises:
            JournalAltered: The head is not what was signed.
        """
        kept = Kept()
        with self.store.lock(wait=True):
            for journal in self._journals:
                for sealed in self._seal(journal, accept=accept):
                    kept.stretches += 1
                    kept.rows += sealed.facts.row_count
                    on_done(sealed.facts.row_count)
        return kept

    def prune(self, days: float, on_done: Callable[[int], None] = lambda _: None) -> Kept:
        """Cut whole stretches that were sealed so many days ago, as far as all their runs have ended.

        Args:
            days: For how long rows are kept.
            on_done: Called with the number of rows, cut by cut.

        Raises:
            JournalAltered: What would be cut is not what was sealed.
        """
        kept = Kept()
        with self.store.lock(wait=True):
            for journal in self._journals:
                while (cut := self._cut(journal, days)).stretches:
                    kept.stretches += cut.stretches
                    kept.rows += cut.rows
                    on_done(cut.rows)
        return kept

    # Sealing

    def _seal(self, journal: Journal, *, accept: bool) -> Iterator[SealedStretch]:
        """Seal stretch after stretch up to what was closed when this began."""
        head = self._head(journal, accept=accept)
        final = self.store.final_before()
        while True:
            end = self.store.end_of_next(journal, head.to_xact, final, self._stretch_rows)
            if end is None:
                return
            sealed = self._sealed(journal, head, end)
            head = Head(
                journal.table, sealed.facts.number, end, sealed.digest, head.cut, self.store.now()
            )
            self.store.add(sealed, head, self._signer.sign(head.statement()))
            self._seen[journal.table] = head
            # Logs are kept where whoever writes to the database cannot: the head is noted there.
            logger.info(
                "journal %s is sealed up to stretch %s, head %s",
                journal.table, head.number, head.digest.hex(),
            )  # fmt: skip
            yield sealed

    def _sealed(self, journal: Journal, head: Head, end: int) -> SealedStretch:
        ids: list[int] = []
        digests: list[bytes] = []
        for row in self.store.rows(journal, head.to_xact, end):
            ids.append(id_of(row))
            digests.append(digest_of_row(journal.table, row))
        number, now = head.number + 1, self.store.now()
        facts = Stretch(
            journal.table, number, head.to_xact, end, ids[0], ids[-1], len(ids), now, head.digest
        )
        digest = facts.digest(digests)
        signature = self._signer.sign(stretch_statement(journal.table, number, digest))
        return SealedStretch(facts, digest, marks_of(digests), signature)

    def _head(self, journal: Journal, *, accept: bool) -> Head:
        """Return what the next stretch continues, signed with the newest key."""
        found = self.store.head(journal)
        if not accept:
            self._compare_with_seen(journal, found[0] if found else None)
        if found is None:
            return self._first_head(journal, accept=accept)
        head, signature = found
        worth = self._signer.worth(head.statement(), signature)
        if worth not in {Worth.GOOD, Worth.NONE}:
            if not accept:
                raise JournalAltered(
                    f"the head of journal {journal.table} is not rightly signed ({worth}), so nothing "
                    "is sealed: `ai-agent audit verify` tells more"
                )
            logger.warning("the head of journal %s is signed as it stands", journal.table)
        if worth is not Worth.GOOD or not self._signer.is_newest(signature):
            fresh = replace(head, at=self.store.now())
            fresh_signature = self._signer.sign(fresh.statement())
            if fresh_signature is not None:
                # Keys that are no longer needed to read anything may then be taken away.
                self.store.set_head(fresh, fresh_signature)
        self._seen[journal.table] = head
        return head

    def _compare_with_seen(self, journal: Journal, head: Head | None) -> None:
        """Raise if what this process has seen sealed is in the chain no more."""
        seen = self._seen.get(journal.table)
        if seen is None:
            return
        if head is None or head.number < seen.number:
            kept = False
        elif head.number == seen.number:
            kept = head.digest == seen.digest
        else:
            digest = self.store.digest_of(journal, seen.number)
            kept = digest == seen.digest or (digest is None and seen.number <= head.cut)
        if not kept:
            raise JournalAltered(
                f"journal {journal.table} was sealed up to stretch {seen.number}, and that is gone or is "
                f"another one, so nothing is sealed: `ai-agent audit verify --head {seen.digest.hex()}` "
                "tells more"
            )

    def _first_head(self, journal: Journal, *, accept: bool) -> Head:
        last = None
        for sealed in self.store.stretches(journal):
            last = sealed
        checkpoints = self.store.checkpoints(journal)
        if last is None and not checkpoints:
            return Head(journal.table, 0, 0, BEGINNING, 0, 0)
        if not accept:
            raise JournalAltered(
                f"the head of journal {journal.table} was taken away, so nothing is sealed: "
                "`ai-agent audit verify` tells more"
            )
        cut = checkpoints[-1][0] if checkpoints else None
        number = cut.number if cut else 0
        if last is None:
            assert cut is not None
            return Head(journal.table, number, cut.to_xact, cut.digest, number, 0)
        facts = last.facts
        return Head(journal.table, facts.number, facts.to_xact, last.digest, number, 0)

    # Cutting

    def _cut(self, journal: Journal, days: float) -> Kept:
        """Make one cut, if there is something to cut."""
        if self.store.head(journal) is None:
            return Kept()
        head = self._head(journal, accept=False)
        old = list(self._old(journal, head, self.store.now() - round(days * _DAY)))
        if not old:
            return Kept()
        rows, last = sum(sealed.facts.row_count for sealed in old), old[-1]
        before = self.store.checkpoints(journal)
        checkpoint = Checkpoint(
            journal.table, last.facts.number, last.facts.to_xact, last.digest,
            rows + (before[-1][0].rows_cut if before else 0), self.store.now(),
        )  # fmt: skip
        fresh = replace(head, cut=checkpoint.number, at=self.store.now())

        def check(deleted: int) -> None:
            if deleted != rows:
                raise _altered(journal)

        self.store.cut(
            checkpoint, self._signer.sign(checkpoint.statement()),
            fresh, self._signer.sign(fresh.statement()), check,
        )  # fmt: skip
        return Kept(len(old), rows)

    def _old(self, journal: Journal, head: Head, before: int) -> Iterator[SealedStretch]:
        """Yield the stretches that may be cut together, each compared with its rows."""
        checkpoints = self.store.checkpoints(journal)
        number, previous = head.cut, checkpoints[-1][0].digest if checkpoints else BEGINNING
        for sealed in self.store.stretches(journal, number):
            facts = sealed.facts
            if facts.sealed_at > before or number == head.cut + _CUT:
                return
            if self.store.in_use(journal, facts.from_xact, facts.to_xact):
                return
            rows = self.store.rows(journal, facts.from_xact, facts.to_xact)
            digests = [digest_of_row(journal.table, row) for row in rows]
            number += 1
            whole = facts.digest(digests) == sealed.digest
            if not whole or (facts.number, facts.previous) != (number, previous):
                raise _altered(journal)
            previous = sealed.digest
            yield sealed


def _altered(journal: Journal) -> JournalAltered:
    return JournalAltered(
        f"journal {journal.table} is not what was sealed, so nothing of it is cut: "
        "`ai-agent audit verify` tells more"
    )
