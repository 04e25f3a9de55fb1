"""The journals: whatever is altered, removed or swapped in them is found, row by row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from celery_app.celery import database as shared
from celery_app.client import Client
from celery_app.errors import JournalAltered
from celery_app.postgres.connection import Database
from celery_app.security.chain import (
    Difference,
    Value,
    differences,
    digest_of_row,
    encode_row,
    marks_of,
)
from celery_app.security.keys import KeyRing
from celery_app.security.signer import Worth
from celery_app.store.journals import JOURNALS
from tests.security.audited import head_of, ids, keeper, tamper, verify, write
from tests.worker_process import WorkerProcess

values = st.one_of(st.none(), st.booleans(), st.integers(), st.text())


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
    database: Database, ring: KeyRing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(database, 5)
    keeper(database, ring).seal()
    other = KeyRing(tmp_path / "other")
    other.appoint(other.add())
    write(database, 5)
    with pytest.raises(JournalAltered, match="not rightly signed"):
        keeper(database, other).seal()
    with caplog.at_level("CRITICAL"):
        assert not keeper(database, other).look(0, None)
    assert "not rightly signed" in caplog.text
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


def test_a_run_is_sealed_by_a_worker_and_verified(client: Client) -> None:
    task_id = str(uuid4())

    def sealed() -> bool:
        row = shared.row(
            "SELECT max(xact) < (SELECT to_xact FROM audit_head WHERE journal = 'event') AS done "
            "FROM event WHERE task_id = :id",
            id=task_id,
        )
        return bool(row.done)

    with WorkerProcess(AI_AGENT__SECURITY__AUDIT__INTERVAL="1"):
        handle = client.submit_graph([{"id": task_id, "task": "chore.echo", "args": ["x"]}])
        handle.result(timeout=30)
        wait_until(sealed)
    cli("seal")
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
