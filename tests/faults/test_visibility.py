"""Work that takes longer than the broker waits before it gives a message to somebody else."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, lives, received
from tests.faults.conftest import VISIBILITY_TIMEOUT, Site
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.chaos

LONG = VISIBILITY_TIMEOUT + 1.5


def run_long(site: Site, worker: WorkerProcess) -> tuple[Any, dict[str, Any], Any, Any]:
    """Start a step, an ordinary task and a delayed one, all longer than the visibility timeout."""
    step = chore("sleep", LONG)
    plain = site.send("chore.sleep", LONG)
    delayed = site.send("chore.echo", "later", countdown=LONG)
    handle = site.submit([step])
    wait_until(lambda: all(received(worker, each) for each in (step["id"], plain.id, delayed.id)))
    return handle, step, plain, delayed


def test_what_takes_longer_than_the_visibility_timeout(site: Site) -> None:
    with site.worker(*TWO_SLOTS) as worker:
        handle, step, plain, delayed = run_long(site, worker)
        assert delayed.get(timeout=LONG + 10) == "later"
        assert plain.get(timeout=10) == LONG
        site.assert_complete(handle, [step])
        assert [received(worker, each) for each in (step["id"], plain.id, delayed.id)] == [1, 1, 1]


@pytest.mark.faults_long
def test_without_the_keeper_it_is_delivered_again(site: Site) -> None:
    with site.worker(*TWO_SLOTS, without="keeper") as worker:
        handle, step, plain, delayed = run_long(site, worker)
        wait_until(lambda: received(worker, plain.id) > 1 and received(worker, delayed.id) > 1)
        site.assert_recorded(handle, [step], 30)
        assert received(worker, step["id"]) == 1, "Postgres knows of it, the broker keeps no copy"


def end_slowly(site: Site, ending: WorkerProcess) -> tuple[Any, dict[str, Any], Any]:
    """Tell a worker to end while it runs what takes longer than the visibility timeout."""
    step = chore("sleep", LONG)
    plain = site.send("chore.sleep", LONG)
    handle = site.submit([step])
    site.wait_for(handle, "started", step)
    wait_until(lambda: received(ending, plain.id))
    ending.process.send_signal(signal.SIGTERM)
    return handle, step, plain


@pytest.mark.faults_long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_warm_shutdown_longer_than_the_visibility_timeout(site: Site, pool: str) -> None:
    with site.worker("-P", pool, "-c", "2") as ending:
        handle, step, plain = end_slowly(site, ending)
        with site.worker(*TWO_SLOTS) as other:
            assert ending.wait(timeout=LONG + 10) == 0
            assert plain.get(timeout=10) == LONG
            site.assert_complete(handle, [step])
            assert [received(other, each) for each in (step["id"], plain.id)] == [0, 0]


@pytest.mark.faults_long
def test_without_the_keeper_another_worker_gets_it(site: Site) -> None:
    with site.worker(*TWO_SLOTS, without="keeper") as ending:
        _, _, plain = end_slowly(site, ending)
        with site.worker(*TWO_SLOTS) as other:
            wait_until(lambda: received(other, plain.id))


@pytest.mark.faults_long
def test_a_broker_that_stands_still_for_longer(site: Site) -> None:
    step = chore("sleep", LONG + 2)
    tasks = [step, chore("echo", "after it", step)]
    with site.worker(*TWO_SLOTS) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", step)
        site.signal(signal.SIGSTOP)
        try:
            time.sleep(VISIBILITY_TIMEOUT + 1)  # the fault itself
        finally:
            site.signal(signal.SIGCONT)
        site.assert_complete(handle, tasks)
        assert lives(worker)


@pytest.mark.faults_long
def test_a_worker_that_is_killed_loses_its_messages_soon(site: Site) -> None:
    with site.worker(*TWO_SLOTS) as doomed:
        plain = site.send("chore.sleep", 1)
        wait_until(lambda: received(doomed, plain.id))
        doomed.kill()
        with site.worker(*TWO_SLOTS) as other:
            assert plain.get(timeout=4 * VISIBILITY_TIMEOUT) == 1
            assert received(other, plain.id) == 1
        wait_until(lambda: not site.left())


def test_a_keeper_that_finds_kombu_changed_says_so_and_stays_off(site: Site) -> None:
    task = chore("echo", "goes on")
    with site.worker(*TWO_SLOTS, without="index") as worker:
        site.assert_complete(site.submit([task]), [task])
        said = "kombu does not note the time of a delivery where it used to"
        wait_until(lambda: said in worker.text())
        (stats,) = site.app.control.inspect().stats().values()
        assert stats["messages"]["kept"] is False
        assert worker.text().count(said) == 1
