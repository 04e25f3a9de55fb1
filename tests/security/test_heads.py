"""The end of a chain: nobody makes a sealer go on from another one than it knows or can trust."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from celery_app.errors import JournalAltered
from celery_app.orchestrator.audit import Keeper
from celery_app.postgres.connection import Database
from celery_app.security.keys import Key, KeyRing
from celery_app.security.signer import Signer, Worth
from celery_app.store.audit import AuditStore
from celery_app.store.journals import JOURNALS
from tests.security.audited import head_of, keeper, tamper, verify, write


class OldRing(KeyRing):
    """A ring whose keys were made two days ago."""

    def all(self) -> list[Key]:
        made = datetime.now(UTC) - timedelta(days=2)
        return [Key(key.id, made, key.secret) for key in super().all()]


class OldClock(AuditStore):
    """A store that says whatever moment somebody likes."""

    def now(self) -> int:
        return 1_000_000_000_000_000


def test_a_chain_made_anew_unsigned_and_dated_before_the_key_is_found(
    database: Database, ring: KeyRing
) -> None:
    old = OldRing(ring.folder)
    write(database, 35)
    keeper(database, old).seal()
    tamper(
        database,
        "UPDATE event SET kind = 'x' WHERE task_id = 't7'",
        "DELETE FROM stretch",
        "DELETE FROM audit_head",
    )
    Keeper(OldClock(database), Signer(None), JOURNALS[:1], 10).seal()
    report = verify(database, old)
    assert report.head_worth is Worth.MISSING
    assert "the head was altered: it is not signed, although there was a key" in {
        finding.what for finding in report.findings
    }
    write(database, 5)
    with pytest.raises(JournalAltered, match="not rightly signed"):
        keeper(database, old).seal()


def test_a_chain_from_before_the_first_key_is_signed_within_a_day(
    database: Database, ring: KeyRing
) -> None:
    write(database, 15)
    Keeper(OldClock(database), Signer(None), JOURNALS[:1], 10).seal()
    assert verify(database, ring).findings == []
    keeper(database, ring).seal()
    assert verify(database, OldRing(ring.folder)).findings == []


SEEN = {
    "everything that vouches": ("DELETE FROM stretch", "DELETE FROM audit_head"),
    "the tail, by an older head": (
        "DELETE FROM stretch WHERE number = 2",
        "DELETE FROM audit_head",
        "INSERT INTO audit_head SELECT * FROM older_head",
    ),
}


@pytest.mark.parametrize("what", SEEN)
@pytest.mark.parametrize("sealed_by_another", [False, True])
def test_a_sealer_goes_on_only_from_what_it_has_seen(
    database: Database, ring: KeyRing, what: str, sealed_by_another: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    sealer = keeper(database, ring)
    write(database, 10)
    sealer.seal()
    tamper(database, "CREATE TABLE older_head AS SELECT * FROM audit_head")
    write(database, 10)
    with caplog.at_level("INFO"):
        sealer.look(0, None)
    noted = head_of(database)
    assert f"head {noted}" in caplog.text
    tamper(database, "UPDATE event SET kind = 'x' WHERE task_id = 't7'", *SEEN[what])
    tamper(database, "DROP TABLE older_head")
    if sealed_by_another:
        write(database, 30)
        keeper(database, ring).seal()
    with pytest.raises(JournalAltered, match=f"verify --head {noted}"):
        sealer.seal()
    with caplog.at_level("CRITICAL"):
        sealer.look(0, 0.001)
    assert "is gone or is another one" in caplog.text


def test_what_another_one_sealed_and_cut_is_no_tampering(database: Database, ring: KeyRing) -> None:
    sealer, other = keeper(database, ring), keeper(database, ring)
    write(database, 15)
    sealer.seal()
    write(database, 15)
    other.seal()
    assert sealer.seal().rows == 0
    assert other.prune(0).rows == 30
    assert sealer.seal().rows == 0
    write(database, 15)
    other.seal()
    other.prune(0)
    write(database, 5)
    assert sealer.seal().rows == 5
    assert verify(database, ring).findings == []


def test_a_head_from_the_future_does_not_stop_sealing_unseen(
    database: Database, ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    write(database, 5)
    keeper(database, ring).seal()
    tamper(database, "UPDATE audit_head SET at = at + interval '100 years'")
    with caplog.at_level("CRITICAL"):
        keeper(database, ring).look(60, None)
    assert "not rightly signed" in caplog.text


class LostAnswers(Database):
    """A database whose answer to each commit is lost once, so that the work is done again."""

    def transaction(self, work: Callable[[Any], Any]) -> Any:
        super().transaction(work)
        return super().transaction(work)


def test_a_lost_answer_to_a_commit_is_no_tampering(
    database: Database, url: str, ring: KeyRing
) -> None:
    weak = LostAnswers(url)
    write(database, 25)
    assert keeper(weak, ring).seal().rows == 25
    assert keeper(weak, ring).prune(0).rows == 25
    write(database, 5)
    assert keeper(weak, ring).seal().rows == 5
    report = verify(database, ring)
    assert (report.findings, report.rows_cut, report.rows) == ([], 25, 5)


def test_a_sealer_that_is_killed_leaves_a_whole_chain(
    database: Database, url: str, ring: KeyRing
) -> None:
    write(database, 600)
    code = (
        "import sys; from pathlib import Path; from celery_app.postgres.connection import Database; "
        "from celery_app.security.keys import KeyRing; from tests.security.audited import keeper; "
        "keeper(Database(sys.argv[1]), KeyRing(Path(sys.argv[2])), 2).seal()"
    )
    for goal in (20, 60, 120):
        sealer = subprocess.Popen([sys.executable, "-c", code, url, str(ring.folder)])
        until = time.monotonic() + 60
        while sealed_by_now(database) < goal and sealer.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.002)
        sealer.kill()
        assert sealer.wait() == -signal.SIGKILL, "it was killed in the midst of it"
        report = verify(database, ring)
        assert (report.findings, report.rows + report.unsealed) == ([], 600)
    keeper(database, ring).seal()
    report = verify(database, ring)
    assert (report.findings, report.rows) == ([], 600)


def sealed_by_now(database: Database) -> int:
    return int(database.row("SELECT count(*) AS n FROM stretch").n)


def test_transactions_that_are_undone_in_part_or_whole_are_sealed_as_they_ended(
    database: Database, ring: KeyRing
) -> None:
    insert = "INSERT INTO event (task_id, root_id, kind) VALUES ('t', 'r', 'queued')"

    def writer(seed: int) -> int:
        dice, kept = random.Random(seed), 0
        with database.session() as session:
            for _ in range(40):
                rows = 1
                session.execute(text("BEGIN"))
                session.execute(text(insert))
                session.execute(text("SAVEPOINT inner_part"))
                session.execute(text(insert))
                time.sleep(dice.random() / 100)
                if dice.random() < 0.5:
                    session.execute(text("ROLLBACK TO inner_part"))
                else:
                    rows += 1
                whole = dice.random() < 0.7
                session.execute(text("COMMIT" if whole else "ROLLBACK"))
                kept += rows * whole
        return kept

    sealer = keeper(database, ring, 7)
    with ThreadPoolExecutor() as pool:
        writers = [pool.submit(writer, seed) for seed in range(4)]
        while not all(one.done() for one in writers):
            sealer.seal()
            assert verify(database, ring).findings == []
    sealer.seal()
    report = verify(database, ring)
    assert (report.findings, report.unsealed) == ([], 0)
    assert report.rows == sum(one.result() for one in writers)
