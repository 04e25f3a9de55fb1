"""Whatever is altered, removed or swapped in a journal, or in what vouches for it, is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from celery_app.errors import JournalAltered
from celery_app.postgres.connection import Database
from celery_app.security.keys import KeyRing
from tests.security.audited import head_of, ids, keeper, tamper, verify, write

# Tampering: what is done to 35 sealed events (stretches of 10, 10, 10 and 5), and what is told.
# {n} is the id of the n-th event.

TAMPERINGS = {
    "at": (
        "UPDATE event SET at = at + interval '1 microsecond' WHERE id = {5}",
        "stretch 1: row {5}: altered",
    ),
    "at infinity": (
        "UPDATE event SET at = 'infinity' WHERE id = {5}",
        "stretch 1: row {5}: altered",
    ),
    "at far": (
        "UPDATE event SET at = '294276-12-31' WHERE id = {5}",
        "stretch 1: row {5}: altered",
    ),
    "xact": (
        "UPDATE event SET xact = (SELECT xact FROM event WHERE id = {15}) WHERE id = {5}",
        "stretch 1: a row was removed behind row {4}",
    ),
    "xact far": (
        "UPDATE event SET xact = '18446744073709551615' WHERE id = {5}",
        "stretch 1: a row was removed behind row {4}",
    ),
    "task_id": ("UPDATE event SET task_id = 'x' WHERE id = {12}", "stretch 2: row {12}: altered"),
    "root_id": ("UPDATE event SET root_id = 'x' WHERE id = {12}", "stretch 2: row {12}: altered"),
    "kind": ("UPDATE event SET kind = 'x' WHERE id = {12}", "stretch 2: row {12}: altered"),
    "cause": ("UPDATE event SET cause = '' WHERE id = {12}", "stretch 2: row {12}: altered"),
    "two columns": (
        "UPDATE event SET task_id = 't4r', root_id = '' WHERE id = {4}",
        "stretch 1: row {4}: altered",
    ),
    "first row": (
        "DELETE FROM event WHERE id = {0}",
        "stretch 1: a row was removed at its beginning",
    ),
    "middle row": (
        "DELETE FROM event WHERE id = {15}",
        "stretch 2: a row was removed behind row {14}",
    ),
    "last row": (
        "DELETE FROM event WHERE id = {34}",
        "stretch 4: a row was removed behind row {33}",
    ),
    "swapped contents": (
        "UPDATE event e SET task_id = o.task_id FROM event o "
        "WHERE (e.id, o.id) IN (({3}, {4}), ({4}, {3}))",
        "stretch 1: row {3}: altered",
    ),
    "swapped moments": (
        "UPDATE event e SET at = o.at FROM event o WHERE (e.id, o.id) IN (({3}, {25}), ({25}, {3}))",
        "stretch 3: row {25}: altered",
    ),
    "inserted row": (
        "INSERT INTO event (at, xact, task_id, root_id, kind) SELECT at, xact, task_id, root_id, kind "
        "FROM event WHERE id = {20}",
        r"stretch 3: row \d+: added",
    ),
    "removed stretch": (
        "DELETE FROM stretch WHERE number = 2",
        "removed, with what vouched for its rows: stretch 2",
    ),
    "removed first stretches": (
        "DELETE FROM stretch WHERE number <= 2",
        "removed, with what vouched for its rows: stretch 1 to 2",
    ),
    "removed stretch and rows": (
        "DELETE FROM stretch WHERE number = 2; DELETE FROM event WHERE id BETWEEN {10} AND {19}",
        "removed, with what vouched for its rows: stretch 2",
    ),
    "stretch's facts": (
        "UPDATE stretch SET first_id = 7 WHERE number = 2",
        "stretch 2: its own facts, its digest or its marks were altered",
    ),
    "stretch's moment": (
        "UPDATE stretch SET sealed_at = 'infinity' WHERE number = 2",
        "stretch 2: its own facts, its digest or its marks were altered",
    ),
    "stretch's digest": (
        "UPDATE stretch SET digest = sha256('x') WHERE number = 2",
        "stretch 3: it does not continue the one before it",
    ),
    "stretch's marks": (
        "UPDATE stretch SET marks = sha256('x') WHERE number = 2",
        "stretch 2: its marks were altered; its rows are whole",
    ),
    "stretch's signature": (
        "UPDATE stretch SET signature = set_byte(signature, 20, get_byte(signature, 20) # 1) "
        "WHERE number = 2",
        "stretch 2: its signature is not right",
    ),
    "row and its mark": (
        "UPDATE event SET kind = 'x' WHERE id = {12}; "
        "UPDATE stretch SET marks = overlay(marks PLACING '' FROM 1 FOR 8) WHERE number = 2",
        "stretch 2: row {12}: a",
    ),
    "forged checkpoint": (
        "INSERT INTO checkpoint SELECT journal, number, to_xact, digest, 20, sealed_at, signature "
        "FROM stretch WHERE number = 2; DELETE FROM stretch WHERE number <= 2; "
        "DELETE FROM event WHERE id < {20}",
        "checkpoint 2 was altered: its signature is not right",
    ),
    "checkpoint without a key": (
        "INSERT INTO checkpoint SELECT journal, number, to_xact, digest, 20, sealed_at, NULL "
        "FROM stretch WHERE number = 2; DELETE FROM stretch WHERE number <= 2; "
        "DELETE FROM event WHERE id < {20}",
        "the newest checkpoint is 2, and the head tells of none",
    ),
    "checkpoint of an unknown key": (
        "INSERT INTO checkpoint SELECT journal, number, to_xact, digest, 20, sealed_at, "
        "overlay(signature PLACING 'abcd' FROM 2 FOR 4) FROM stretch WHERE number = 2; "
        "DELETE FROM stretch WHERE number <= 2; DELETE FROM event WHERE id < {20}",
        "checkpoint 2 was altered: it is signed with a key that is not here",
    ),
    "tail": (
        "DELETE FROM stretch WHERE number = 4; DELETE FROM event WHERE id >= {30}",
        "the newest stretches were removed: 4 to 4",
    ),
    "tail and head": (
        "DELETE FROM stretch WHERE number = 4; DELETE FROM event WHERE id >= {30}; "
        "UPDATE audit_head SET (number, to_xact, digest, signature) = "
        "(SELECT number, to_xact, digest, signature FROM stretch WHERE number = 3)",
        "the head was altered: its signature is not right",
    ),
    "head": ("DELETE FROM audit_head", "the head was taken away"),
    "head's signature": (
        "UPDATE audit_head SET signature = overlay(signature PLACING 'abcd' FROM 2 FOR 4)",
        "the head was altered: it is signed with a key that is not here",
    ),
    "everything before": (
        "DELETE FROM stretch; DELETE FROM event",
        "the newest stretches were removed: 1 to 4",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_found(database: Database, ring: KeyRing, what: str) -> None:
    write(database, 35)
    assert keeper(database, ring).seal().stretches == 4
    assert verify(database, ring).findings == []
    statements, told = TAMPERINGS[what]
    known = {f"{{{n}}}": str(row) for n, row in enumerate(ids(database))}
    for name, row in known.items():
        statements, told = statements.replace(name, row), told.replace(name, row)
    tamper(database, *statements.split("; "))
    found = [str(finding) for finding in verify(database, ring).findings]
    assert any(re.search(told, line) for line in found), found


def test_another_id_is_found(database: Database, ring: KeyRing) -> None:
    write(database, 35)
    keeper(database, ring).seal()
    row = ids(database)[5]
    tamper(
        database,
        # An identity column is given up first, as its owner can.
        "ALTER TABLE event ALTER COLUMN id DROP IDENTITY",
        f"UPDATE event SET id = {row} + 1000 WHERE id = {row}",
        "ALTER TABLE event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (START 5000)",
    )
    [finding] = verify(database, ring).findings
    assert (finding.stretch, finding.row, finding.what) == (1, row + 1000, "altered")


def test_one_altered_row_is_one_finding(database: Database, ring: KeyRing) -> None:
    write(database, 35)
    keeper(database, ring).seal()
    row = ids(database)[17]
    tamper(database, f"UPDATE event SET kind = 'x' WHERE id = {row}")
    [finding] = verify(database, ring).findings
    assert (finding.journal, finding.stretch, finding.row, finding.what) == (
        "event", 2, row, "altered",
    )  # fmt: skip


def test_a_chain_made_anew_by_somebody_without_the_key_is_found(
    database: Database, ring: KeyRing, tmp_path: Path
) -> None:
    write(database, 35)
    keeper(database, ring).seal()
    noted = head_of(database)
    other = KeyRing(tmp_path / "other")
    other.appoint(other.add())
    tamper(
        database,
        "UPDATE event SET kind = 'x' WHERE task_id = 't7'",
        "DELETE FROM stretch",
        "DELETE FROM audit_head",
    )
    keeper(database, other).seal()
    told = [str(finding) for finding in verify(database, ring).findings]
    assert any("the head was altered" in line for line in told), told
    with pytest.raises(JournalAltered, match="audit verify"):
        keeper(database, ring).seal()
    # Without any signature it is one that nobody vouches for, and not what was noted.
    tamper(database, "DELETE FROM stretch", "DELETE FROM audit_head")
    keeper(database, None).seal()
    assert verify(database, ring).unsigned == 4
    assert "no journal has the noted head" in verify(database, ring, noted).findings[-1].what


def test_a_noted_head_is_found_until_it_is_gone(database: Database, ring: KeyRing) -> None:
    write(database, 12)
    keeper(database, ring).seal()
    noted = head_of(database)
    write(database, 12)
    keeper(database, ring).seal()
    assert verify(database, ring, noted, head_of(database)).findings == []
    assert len(verify(database, ring, "ab" * 32).findings) == 1
