"""The journals: whatever is altered, removed or swapped in them is found, row by row."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url, text

from celery_app.celery import database as shared
from celery_app.celery import settings
from celery_app.client import Client
from celery_app.errors import JournalAltered
from celery_app.orchestrator.audit import Keeper
from celery_app.orchestrator.audit_check import Report, Verifier
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.security.chain import (
    Difference,
    Value,
    differences,
    digest_of_row,
    encode_row,
    marks_of,
)
from celery_app.security.keys import KeyRing
from celery_app.security.signer import Signer, Worth
from celery_app.store.audit import JOURNALS, AuditStore
from tests.worker_process import WorkerProcess

values = st.one_of(st.none(), st.booleans(), st.integers(), st.text())


@pytest.fixture(scope="module")
def url(client: Client) -> Iterator[str]:
    """The URL of a database of our own."""
    name = f"audit_{uuid4().hex[:8]}"
    shared.rows(f"CREATE DATABASE {name}")
    shown = make_url(settings.database_url).set(database=name)
    yield shown.render_as_string(hide_password=False)
    shared.rows(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """That database, with no event in it."""
    database = Database(url)
    migrate(database)
    yield database
    wipe(database)
    database.dispose()


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "keys")
    ring.appoint(ring.add())
    return ring


def wipe(database: Database) -> None:
    tamper(database, "TRUNCATE event, stretch, checkpoint, audit_head, task")


def tamper(database: Database, *statements: str) -> None:
    """Write to the database as its owner can, past every trigger."""
    with database.session() as session:
        session.execute(text("SET session_replication_role = replica"))
        for statement in statements:
            session.execute(text(statement))
        session.execute(text("RESET session_replication_role"))


def keeper(database: Database, ring: KeyRing | None, rows: int = 10) -> Keeper:
    return Keeper(AuditStore(database), Signer(ring), stretch_rows=rows)


def verify(database: Database, ring: KeyRing | None, *heads: str) -> Report:
    [report] = Verifier(AuditStore(database), Signer(ring), JOURNALS[:1]).verify(heads)
    return report


def write(database: Database, count: int) -> None:
    """Write events, each in a transaction of its own."""
    for n in range(count):
        database.rows(
            "INSERT INTO event (task_id, root_id, kind, cause) VALUES (:task, 'r', 'queued', NULL)",
            task=f"t{n}",
        )


def head_of(database: Database) -> str:
    found = AuditStore(database).head(JOURNALS[0])
    assert found is not None
    return found[0].digest.hex()


def ids(database: Database) -> list[int]:
    return [row.id for row in database.rows("SELECT id FROM event ORDER BY id")]


# What is hashed


@given(st.lists(values), st.lists(values))
def test_different_rows_have_different_bytes(one: list[Value], other: list[Value]) -> None:
    same = [(type(value), value) for value in one] == [(type(value), value) for value in other]
    assert (encode_row("event", one) == encode_row("event", other)) == same


@given(st.lists(values), st.text(), st.text())
def test_rows_of_different_journals_have_different_bytes(
    row: list[Value], one: str, other: str
) -> None:
    assert (encode_row(one, row) == encode_row(other, row)) == (one == other)


@given(st.lists(st.integers(0, 1000), unique=True).map(sorted), st.data())
def test_differences_name_what_was_done(rows: list[int], data: st.DataObject) -> None:
    digests = [digest_of_row("event", [row]) for row in rows]
    assert list(differences(marks_of(digests), digests)) == []
    if rows:
        place = data.draw(st.integers(0, len(rows) - 1))
        without = digests[:place] + digests[place + 1 :]
        new = digest_of_row("event", ["new"])
        altered = [*digests[:place], new, *digests[place + 1 :]]
        assert list(differences(marks_of(digests), without)) == [Difference("removed", place - 1)]
        assert list(differences(marks_of(digests), altered)) == [Difference("altered", place)]
        assert list(differences(marks_of(without), digests)) == [Difference("added", place)]


def test_every_column_of_a_journal_is_hashed(database: Database) -> None:
    for journal in JOURNALS:
        rows = database.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_name = :table "
            "AND table_schema = 'public'",
            table=journal.table,
        )
        assert sorted(row.column_name for row in rows) == sorted(journal.columns)
        assert journal.columns[:3] == ("id", "at", "xact")


# The tables


@pytest.mark.parametrize("table", ["event", "stretch", "checkpoint"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_rows_are_only_ever_added(database: Database, table: str, statement: str) -> None:
    column = "kind" if table == "event" else "journal"
    with pytest.raises(psycopg2.Error, match=f"rows of {table} are only ever added"):
        database.rows(statement.format(table, column, column))


# Tampering: what is done to 35 sealed events (stretches of 10, 10, 10 and 5), and what is told.
# {n} is the id of the n-th event.

TAMPERINGS = {
    "id": ("UPDATE event SET id = {5} + 1000 OVERRIDING", r"row 1\d+: "),
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
    if what == "id":
        # An identity column is given up first, as its owner can.
        five = known["{5}"]
        tamper(
            database,
            "ALTER TABLE event ALTER COLUMN id DROP IDENTITY",
            f"UPDATE event SET id = {five} + 1000 WHERE id = {five}",
            "ALTER TABLE event ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (START 5000)",
        )
        told = f"stretch 1: row {int(five) + 1000}: altered"
    else:
        tamper(database, *statements.split("; "))
    found = [str(finding) for finding in verify(database, ring).findings]
    assert any(re.search(told, line) for line in found), found


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


# Keys


def test_without_a_key_it_is_chained_and_said_to_be_unsigned(
    database: Database, ring: KeyRing, tmp_path: Path
) -> None:
    write(database, 15)
    keeper(database, None).seal()
    report = verify(database, None)
    assert (report.findings, report.unsigned, report.head_worth) == ([], 2, Worth.NONE)
    write(database, 5)
    keeper(database, ring).seal()
    report = verify(database, ring)
    assert (report.findings, report.unsigned, report.head_worth) == ([], 2, Worth.GOOD)
    assert verify(database, KeyRing(tmp_path / "none")).head_worth is Worth.UNCHECKED


def test_a_key_may_go_once_the_head_is_signed_with_the_next(
    database: Database, ring: KeyRing
) -> None:
    write(database, 25)
    keeper(database, ring).seal()
    assert keeper(database, ring).prune(0).rows == 25
    write(database, 5)
    keeper(database, ring).seal()
    [old] = ring.all()
    ring.appoint(ring.add())
    keeper(database, ring).seal()
    (ring.folder / f"{old.id}.key").unlink()
    assert verify(database, KeyRing(ring.folder)).findings == []


def test_a_lost_key_stops_sealing_until_somebody_accepts(
    database: Database, ring: KeyRing, tmp_path: Path
) -> None:
    write(database, 5)
    keeper(database, ring).seal()
    other = KeyRing(tmp_path / "other")
    other.appoint(other.add())
    write(database, 5)
    with pytest.raises(JournalAltered, match="not rightly signed"):
        keeper(database, other).look(0, None)
    assert keeper(database, other).seal(accept=True).rows == 5
    assert verify(database, other).findings == []


def test_a_tail_that_was_removed_stays_told_when_sealing_goes_on(
    database: Database, ring: KeyRing
) -> None:
    write(database, 25)
    keeper(database, ring).seal()
    tamper(database, "DELETE FROM stretch WHERE number = 3", "DELETE FROM event WHERE id > 20")
    write(database, 15)
    keeper(database, ring).seal()
    told = [finding.what for finding in verify(database, ring).findings]
    assert any("stretch 3" in line for line in told), told


# Writers at the same time


def test_no_row_of_a_slow_writer_is_missed(database: Database, ring: KeyRing) -> None:
    stop = threading.Event()
    written = [0] * 6

    def writer(number: int) -> None:
        pause = 0.15 if number < 2 else 0.0

        def work(connection: object) -> None:
            for _ in range(3):
                connection.execute(  # type: ignore[attr-defined]
                    text("INSERT INTO event (task_id, root_id, kind) VALUES ('t', 'r', 'queued')")
                )
                time.sleep(pause)

        while not stop.is_set():
            database.transaction(work)
            written[number] += 3

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    sealed = stretches = 0
    sealers = keeper(database, ring, 50)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        kept = sealers.seal()
        sealed, stretches = sealed + kept.rows, stretches + kept.stretches
        assert verify(database, ring).findings == []
    stop.set()
    for thread in threads:
        thread.join()
    sealed += sealers.seal().rows
    report = verify(database, ring)
    assert (report.findings, report.unsealed) == ([], 0)
    assert sealed == report.rows == sum(written) > 0
    assert stretches > 5


def test_what_has_not_ended_is_not_sealed(database: Database, ring: KeyRing) -> None:
    def work(connection: object) -> None:
        connection.execute(  # type: ignore[attr-defined]
            text("INSERT INTO event (task_id, root_id, kind) VALUES ('slow', 'r', 'queued')")
        )
        write(database, 5)
        assert keeper(database, ring).seal().rows == 0

    database.transaction(work)
    assert keeper(database, ring).seal().rows == 6


def test_one_transaction_is_never_divided(database: Database, ring: KeyRing) -> None:
    database.rows(
        "INSERT INTO event (task_id, root_id, kind) "
        "SELECT 't' || n, 'r', 'queued' FROM generate_series(1, 25000) n"
    )
    assert keeper(database, ring).seal().stretches == 1
    assert verify(database, ring).rows == 25000


def test_several_sealers_make_one_chain(database: Database, ring: KeyRing) -> None:
    write(database, 200)
    sealers = [keeper(database, ring) for _ in range(5)]
    threads = [threading.Thread(target=lambda one=one: one.look(0, None)) for one in sealers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keeper(database, ring).seal()
    report = verify(database, ring)
    assert (report.findings, report.rows) == ([], 200)


def test_sealing_waits_for_its_interval(database: Database, ring: KeyRing) -> None:
    write(database, 5)
    assert not keeper(database, ring).look(60, None)
    write(database, 5)
    keeper(database, ring).look(60, None)
    assert verify(database, ring).unsealed == 5
    keeper(database, ring).look(0, None)
    assert verify(database, ring).unsealed == 0


# Retention


def test_what_is_old_is_cut_at_a_checkpoint(database: Database, ring: KeyRing) -> None:
    write(database, 35)
    keeper(database, ring).seal()
    noted = head_of(database)
    assert keeper(database, ring).prune(1).rows == 0
    assert keeper(database, ring).prune(0).rows == 35
    report = verify(database, ring, noted)
    assert (report.findings, report.rows_cut, report.rows) == ([], 35, 0)
    write(database, 12)
    keeper(database, ring).seal()
    assert keeper(database, ring).prune(0).rows == 12
    report = verify(database, ring, noted)
    assert (report.findings, report.rows_cut) == ([], 47)
    tamper(database, "UPDATE checkpoint SET rows_cut = rows_cut + 1")
    assert len(verify(database, ring).findings) == 2
    tamper(database, "DELETE FROM checkpoint WHERE number > 4")
    told = [finding.what for finding in verify(database, ring).findings]
    assert "the newest checkpoint is 4, and the head tells of 6" in told


def test_rows_that_come_back_are_found(database: Database, ring: KeyRing) -> None:
    write(database, 35)
    keeper(database, ring).seal()
    keeper(database, ring).prune(0)
    tamper(
        database,
        "INSERT INTO event (at, xact, task_id, root_id, kind) VALUES (now(), '700', 't', 'r', 'queued')",
    )
    [finding] = verify(database, ring).findings
    assert finding.what == "added, where retention has cut"


def test_what_was_altered_is_not_cut(database: Database, ring: KeyRing) -> None:
    write(database, 35)
    keeper(database, ring).seal()
    tamper(database, "UPDATE event SET kind = 'x' WHERE task_id = 't15'")
    with pytest.raises(JournalAltered, match="nothing of it is cut"):
        keeper(database, ring).prune(0)
    assert len(ids(database)) == 35


def test_runs_that_go_on_keep_their_events(database: Database, ring: KeyRing) -> None:
    write(database, 15)
    database.rows(
        "INSERT INTO task (id, root_id, name, type, queue, state, spec) "
        "VALUES ('live', 'live', 'chore.echo', 'x', 'tasks', 'running', '')"
    )
    database.rows("INSERT INTO event (task_id, root_id, kind) VALUES ('live', 'live', 'started')")
    write(database, 15)
    keeper(database, ring).seal()
    assert keeper(database, ring).prune(0).rows == 10
    database.rows("UPDATE task SET state = 'succeeded' WHERE id = 'live'")
    assert keeper(database, ring).prune(0).rows == 21
    assert verify(database, ring).findings == []


# The whole


def test_a_run_is_sealed_and_verified(client: Client, worker: WorkerProcess) -> None:
    task_id = str(uuid4())
    handle = client.submit_graph([{"id": task_id, "task": "chore.echo", "args": ["x"]}])
    handle.result(timeout=30)

    def sealed() -> bool:
        cli("seal")
        row = shared.row(
            "SELECT max(xact) < (SELECT to_xact FROM audit_head WHERE journal = 'event') AS done "
            "FROM event WHERE task_id = :id",
            id=task_id,
        )
        return bool(row.done)

    wait_until(sealed)
    head = json.loads(cli("show", "--json").stdout)[0]
    assert head["signed"]
    whole = cli("verify", "--head", head["head"])
    assert "event: whole" in whole.stdout
    [row] = shared.rows(
        "SELECT id FROM event WHERE task_id = :id AND kind = 'succeeded'", id=task_id
    )
    alter = "UPDATE event SET kind = '{}' WHERE id = {}"
    tamper(shared, alter.format("failed", row.id))
    try:
        altered = cli("verify", "--json", code=1)
        [finding] = json.loads(altered.stdout)[0]["findings"]
        assert (finding["row"], finding["what"]) == (row.id, "altered")
        assert f"row {row.id}: altered" in cli("verify", code=1).stderr
    finally:
        tamper(shared, alter.format("succeeded", row.id))
    cli("verify")
    assert "no digest" in cli("verify", "--head", "xyz", code=2).stderr
    assert "give --days" in cli("prune", code=2).stderr


def cli(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery_app", "audit", *arguments]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def wait_until(true: Callable[[], bool], timeout: float = 30) -> None:
    until = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < until
        time.sleep(0.2)
