"""The broker is killed, emptied and filled; the workers live on, every graph
completes, each task is recorded once. What a guard of the worker achieves has a control without it.
"""

from __future__ import annotations

import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, lives, received
from tests.faults.conftest import VISIBILITY_TIMEOUT, Site

pytestmark = pytest.mark.chaos

LONG = VISIBILITY_TIMEOUT + 1.5


# The connection is lost


@pytest.mark.parametrize(
    "pool", ["threads", pytest.param("prefork", marks=pytest.mark.faults_long)]
)
def test_a_broker_that_is_killed_and_comes_back(site: Site, pool: str) -> None:
    long, short = chore("sleep", 4), chore("echo", "while the other one runs")
    tasks = [long, chore("echo", "after it", long)]
    with site.worker("-P", pool, "-c", "2") as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", long)
        with site.broker_away(worker):
            pass
        other = site.submit([short])
        site.wait_for(other, "succeeded", short)
        assert long["id"] not in site.kinds(handle, "succeeded"), "the free slot waited"
        site.assert_complete(handle, tasks)
        site.assert_complete(other, [short])
        assert received(worker, long["id"]) == 1
        assert lives(worker)


@pytest.mark.faults_long
def test_the_stock_consumer_ends_with_the_broker(site: Site) -> None:
    long = chore("sleep", 4)
    with site.worker(*TWO_SLOTS, without="consumer") as worker:
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        with site.broker_away(worker):
            pass
        assert worker.wait(timeout=15) == 1


@pytest.mark.faults_long
def test_a_broker_that_is_away_for_longer_than_the_visibility_timeout(site: Site) -> None:
    long = chore("sleep", 2 * VISIBILITY_TIMEOUT + 1.5)
    # The keeper may come back too late for the first sweep; here it never does.
    with site.worker(*TWO_SLOTS, without="keeper") as worker:
        plain = site.send("chore.sleep", 2 * VISIBILITY_TIMEOUT + 1)
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        wait_until(lambda: received(worker, plain.id))
        with site.broker_away(worker):
            time.sleep(VISIBILITY_TIMEOUT + 1)  # the fault itself
        site.assert_complete(handle, [long])
        assert [received(worker, each) for each in (long["id"], plain.id)] == [1, 1]


@pytest.mark.faults_long
def test_tasks_that_end_while_the_broker_is_away(site: Site) -> None:
    tasks = [chore("sleep", 1), chore("sleep", 1.2)]
    with site.worker("-c", "4") as worker:
        plain = site.send("chore.sleep", 1)
        handle = site.submit(tasks)
        for task in tasks:
            site.wait_for(handle, "started", task)
        with site.broker_away(worker):
            for task in tasks:
                site.wait_for(handle, "succeeded", task)
            assert plain.get(timeout=10) == 1
        site.assert_complete(handle, tasks)
        assert [received(worker, each) for each in (*(t["id"] for t in tasks), plain.id)] == [1] * 3


@pytest.mark.faults_long
def test_a_worker_that_is_to_end_while_the_broker_is_away(site: Site) -> None:
    long = chore("sleep", 1)
    with site.worker(*TWO_SLOTS) as worker:
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        with site.broker_away(worker):
            wait_until(lambda: "Cannot connect" in worker.text())
            worker.process.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=15) == 0
            site.wait_for(handle, "succeeded", long)
    with site.worker(*TWO_SLOTS):
        site.assert_complete(handle, [long])


def test_connections_that_are_cut(site: Site) -> None:
    long = chore("sleep", 3)
    tasks = [long, chore("echo", "after it", long)]
    with site.worker(*TWO_SLOTS) as worker:
        plain = site.send("chore.sleep", 2)
        handle = site.submit(tasks)
        site.wait_for(handle, "started", long)
        wait_until(lambda: received(worker, plain.id))
        for kind in ("normal", "pubsub"):
            site.cut(kind)
        site.assert_complete(handle, tasks)
        assert [received(worker, each) for each in (long["id"], plain.id)] == [1, 1]


@pytest.mark.faults_long
def test_without_adoption_their_messages_stay_behind(site: Site) -> None:
    with site.worker(*TWO_SLOTS, without="adopt") as worker:
        plain = site.send("chore.sleep", 2)
        wait_until(lambda: received(worker, plain.id))
        site.cut("normal")
        assert plain.get(timeout=10) == 2
        with pytest.raises(AssertionError):
            wait_until(lambda: not site.left(), VISIBILITY_TIMEOUT)
        assert lives(worker)


def test_delayed_tasks_are_taken_up_again(site: Site) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=5)
    with site.worker(*TWO_SLOTS) as worker:
        delayed = site.send("chore.echo", "later", eta=moment)
        wait_until(lambda: received(worker, delayed.id) == 1)
        with site.broker_away(worker):
            site.replace_data(None)
        assert delayed.get(timeout=15) == "later"
        assert datetime.now(UTC) >= moment
        done = f"Task chore.echo[{delayed.id}] succeeded"
        wait_until(lambda: done in worker.text() and not site.left())
        assert worker.text().count(done) == 1


@pytest.mark.faults_long
def test_nobody_hears_the_events(site: Site) -> None:
    tasks = [chore("sleep", 0.1) for _ in range(12)]
    with site.worker(*TWO_SLOTS, "-E") as worker:
        handle = site.submit(tasks)
        for task in tasks[::4]:
            site.wait_for(handle, "succeeded", task)
            site.cut("pubsub")
        site.assert_complete(handle, tasks)
        wait_until(lambda: f"{worker.name}@" in str(site.app.control.ping()))


# The broker forgets, or remembers too much


def test_a_broker_that_forgets_everything(site: Site) -> None:
    tasks = [chore("sleep", 0.3) for _ in range(8)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker(*TWO_SLOTS) as worker:
        site.broker.flushall()
        handle = site.submit(tasks)
        site.wait_for(handle, "succeeded", tasks[0])
        site.broker.flushall()
        site.assert_complete(handle, tasks)
        assert lives(worker)


@pytest.mark.faults_long
def test_a_broker_that_comes_back_empty(site: Site) -> None:
    tasks = [chore("sleep", 0.3) for _ in range(8)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker(*TWO_SLOTS) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "succeeded", tasks[0])
        with site.broker_away(worker):
            site.replace_data(None)
        site.assert_complete(handle, tasks)
        assert lives(worker)


@pytest.mark.faults_long
def test_a_broker_that_comes_back_with_old_data(site: Site, tmp_path: Path) -> None:
    tasks = [chore("sleep", 0.1) for _ in range(8)]
    tasks.append(chore("echo", "done", *tasks))
    handle = site.submit(tasks)
    site.valkey.stop()
    shutil.copytree(site.data, tmp_path / "old")
    site.valkey.start()
    with site.worker(*TWO_SLOTS) as worker:
        site.wait_for(handle, "succeeded", tasks[0])
        with site.broker_away(worker):
            site.replace_data(tmp_path / "old")
        site.assert_complete(handle, tasks)
        assert lives(worker)


def test_every_message_twice(site: Site) -> None:
    tasks = [chore("sleep", 0.2) for _ in range(6)]
    tasks.append(chore("echo", "done", *tasks))
    handle = site.submit(tasks)
    for key, raw in site.queued():
        site.broker.lpush(key, raw)
    assert sum(site.left().values()) == 12
    with site.worker(*TWO_SLOTS):
        site.assert_complete(handle, tasks)
        assert sorted(site.kinds(handle, "started")) == sorted(site.kinds(handle, "succeeded"))


# The broker is full


@pytest.mark.faults_long
def test_a_broker_that_is_full(site: Site) -> None:
    tasks = [chore("sleep", 1) for _ in range(3)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker(*TWO_SLOTS) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", tasks[0])
        plain = site.send("chore.echo", "unsecured")
        site.broker.config_set("maxmemory", 1)
        for task in tasks[:2]:
            site.wait_for(handle, "succeeded", task)
        late = chore("echo", "handed in meanwhile")
        other = site.submit([late])
        site.wait_for(handle, "succeeded", tasks[2])
        assert plain.get(timeout=10) == "unsecured"
        assert "runs unsecured" in worker.text()
        assert lives(worker)
        site.broker.config_set("maxmemory", 0)
        site.assert_complete(handle, tasks)
        site.assert_complete(other, [late])
