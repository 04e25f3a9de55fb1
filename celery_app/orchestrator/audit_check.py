"""Compare the journals with what was sealed of them, and name every row that differs.

Invariant: it only reads, and nothing that it reads is believed because another row says so, except
along the chain: from the newest checkpoint, stretch by stretch, to the signed head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from celery_app.security.chain import (
    BEGINNING,
    Head,
    differences,
    digest_of_row,
    marks_of,
    stretch_statement,
)
from celery_app.security.signer import Signer, Worth
from celery_app.store.audit import AuditStore, SealedStretch
from celery_app.store.journals import JOURNALS, Journal, id_of

__all__ = ["Finding", "Report", "Verifier"]

#: Rows before a checkpoint that are told one by one.
_TOLD = 100
_TELLING = {
    Worth.FORGED: "its signature is not right",
    Worth.MISSING: "it is not signed, although there was a key",
    Worth.UNKNOWN: "it is signed with a key that is not here",
}


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was sealed.

    Attributes:
        journal: In which journal.
        stretch: In which stretch; None if in none.
        row: The id of the row; None if it is not about a row that is there.
        what: What is the matter.
    """

    journal: str
    stretch: int | None
    row: int | None
    what: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" row {self.row}:"
        stretch = "" if self.stretch is None else f" stretch {self.stretch}:"
        return f"{self.journal}:{stretch}{row} {self.what}"


@dataclass
class Report:
    """What is known of a journal.

    Attributes:
        journal: Which.
        head: The digest of its newest stretch.
        stretches: How many stretches were compared.
        rows: And rows in them.
        rows_cut: How many rows retention has cut, by the newest checkpoint.
        unsealed: How many rows are in no stretch yet.
        unsigned: How many stretches nobody signed.
        head_worth: What the signature of the head is worth.
        findings: What is not as it was sealed.
    """

    journal: str
    head: str | None = None
    stretches: int = 0
    rows: int = 0
    rows_cut: int = 0
    unsealed: int = 0
    unsigned: int = 0
    head_worth: Worth = Worth.NONE
    findings: list[Finding] = field(default_factory=list)

    def find(self, what: str, stretch: int | None = None, row: int | None = None) -> None:
        """Note a finding."""
        self.findings.append(Finding(self.journal, stretch, row, what))


@dataclass
class _Link:
    """What the next stretch must continue."""

    number: int
    to_xact: int
    digest: bytes


class Verifier:
    """Verifies the journals of a database.

    Args:
        store: The journals and what vouches for them.
        signer: Tells what signatures are worth.
        journals: Which journals.
    """

    def __init__(
        self, store: AuditStore, signer: Signer, journals: tuple[Journal, ...] = JOURNALS
    ) -> None:
        self.store = store
        self._signer = signer
        self._journals = journals

    def verify(
        self, noted: tuple[str, ...] = (), on_done: Callable[[int], None] = lambda _: None
    ) -> list[Report]:
        """Verify every journal.

        Args:
            noted: Digests of heads that were noted elsewhere; each must be in a chain.
            on_done: Called with the number of rows, stretch by stretch.
        """
        reports: list[Report] = []
        seen: set[str] = set()
        with self.store.lock(wait=True):
            for journal in self._journals:
                report = Report(journal.table)
                for digest in self._check(journal, report, on_done):
                    seen.add(digest.hex())
                reports.append(report)
        for head in noted:
            if head.lower() not in seen:
                reports[0].find(
                    f"no journal has the noted head {head}: it was forged or taken away, or retention "
                    "has cut behind it"
                )
        return reports

    def _check(
        self, journal: Journal, report: Report, on_done: Callable[[int], None]
    ) -> Iterator[bytes]:
        """Fill the report; yield the digest of everything in the chain."""
        head = self._check_head(journal, report)
        for checkpoint, _ in self.store.checkpoints(journal):
            yield checkpoint.digest
        link = self._beginning(journal, report, head)
        for sealed in self.store.stretches(journal, link.number):
            link = self._check_stretch(journal, report, link, sealed)
            on_done(sealed.facts.row_count)
            yield sealed.digest
        report.unsealed = self.store.count_from(journal, link.to_xact)
        self._check_end(report, head, link)

    def _check_head(self, journal: Journal, report: Report) -> Head | None:
        found = self.store.head(journal)
        if found is None:
            return None
        head, signature = found
        report.head = head.digest.hex()
        report.head_worth = self._signer.worth(head.statement(), signature)
        if report.head_worth in _TELLING:
            report.find(f"the head was altered: {_TELLING[report.head_worth]}")
        return head

    def _beginning(self, journal: Journal, report: Report, head: Head | None) -> _Link:
        """Return what the first stretch that is left must continue."""
        newest = None
        for newest, signature in self.store.checkpoints(journal):
            worth = self._signer.worth(newest.statement(), signature, newest.at)
            vouched = head is not None and head.cut >= newest.number
            # A key that is gone is no matter where a signed head names the checkpoint.
            if worth in _TELLING and not (worth is Worth.UNKNOWN and vouched):
                report.find(f"checkpoint {newest.number} was altered: {_TELLING[worth]}")
        cut = 0 if newest is None else newest.number
        if head is not None and head.cut != cut:
            report.find(
                f"the newest checkpoint is {cut or 'missing'}, and the head tells of {head.cut or 'none'}"
            )
        link = _Link(0, 0, BEGINNING)
        if newest is not None:
            report.rows_cut = newest.rows_cut
            link = _Link(newest.number, newest.to_xact, newest.digest)
        for sealed in islice(self.store.stretches(journal), 1):
            if sealed.facts.number <= link.number:
                report.find("it was cut by a checkpoint and is there again", sealed.facts.number)
        for row in islice(self.store.rows(journal, 0, link.to_xact), _TOLD):
            report.find("added, where retention has cut", None, id_of(row))
        return link

    def _check_stretch(
        self, journal: Journal, report: Report, link: _Link, sealed: SealedStretch
    ) -> _Link:
        facts = sealed.facts
        if facts.number != link.number + 1:
            last = facts.number - 1
            gone = (
                f"{link.number + 1}" if last == link.number + 1 else f"{link.number + 1} to {last}"
            )
            report.find(f"removed, with what vouched for its rows: stretch {gone}")
        elif (facts.previous, facts.from_xact) != (link.digest, link.to_xact):
            report.find("it does not continue the one before it", facts.number)
        statement = stretch_statement(journal.table, facts.number, sealed.digest)
        worth = self._signer.worth(statement, sealed.signature, facts.sealed_at)
        report.unsigned += worth in {Worth.NONE, Worth.MISSING}
        if worth in {Worth.FORGED, Worth.MISSING}:
            report.find(_TELLING[worth], facts.number)
        self._check_rows(journal, report, sealed)
        return _Link(facts.number, facts.to_xact, sealed.digest)

    def _check_rows(self, journal: Journal, report: Report, sealed: SealedStretch) -> None:
        facts = sealed.facts
        ids, digests = [], []
        for row in self.store.rows(journal, facts.from_xact, facts.to_xact):
            ids.append(id_of(row))
            digests.append(digest_of_row(journal.table, row))
        report.stretches += 1
        report.rows += len(ids)
        whole = facts.digest(digests) == sealed.digest
        if whole and marks_of(digests) == sealed.marks:
            return
        if whole:
            report.find("its marks were altered; its rows are whole", facts.number)
            return
        found = False
        for difference in differences(sealed.marks, digests):
            found = True
            where = ids[difference.row] if difference.row >= 0 else None
            if difference.what == "removed":
                behind = f"behind row {where}" if where is not None else "at its beginning"
                report.find(f"a row was removed {behind}", facts.number)
            else:
                report.find(difference.what, facts.number, where)
        if not found:
            report.find("its own facts, its digest or its marks were altered", facts.number)

    def _check_end(self, report: Report, head: Head | None, link: _Link) -> None:
        if head is None:
            if link.number:
                report.find("the head was taken away")
        elif head.number > link.number:
            report.find(f"the newest stretches were removed: {link.number + 1} to {head.number}")
        elif (head.number, head.digest, head.to_xact) != (link.number, link.digest, link.to_xact):
            report.find("the head is not that of the newest stretch")
