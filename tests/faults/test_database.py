"""Postgres is cut off and comes back: in the middle of a step, at its end, and while leases are to be
renewed. Each task is recorded once; the control has no patience with the database.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from celery_app.errors import LeaseLost
from celery_app.handles import TaskHandle
from celery_app.store.execution import ExecutionStore
from celery_app.store.records import Claim
from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, lives
from tests.faults.conftest import Site

pytestmark = [pytest.mark.chaos, pytest.mark.faults_long, pytest.mark.timeout(120)]

POOLS = ["threads", "prefork"]


def away(site: Site, seconds: float) -> None:
    """Cut Postgres off; start it again after some seconds."""
    site.cut_off_postgres()
    time.sleep(seconds)  # the fault itself
    site.postgres.start()


def started(site: Site, handle: TaskHandle, task: dict[str, Any]) -> int:
    return site.kinds(handle, "started").count(task["id"])


@pytest.mark.parametrize("pool", POOLS)
def test_in_the_middle_of_a_step(site: Site, pool: str) -> None:
    step = chore("sleep", 4)
    tasks = [step, chore("echo", "after it", step)]
    with site.worker("-P", pool, *TWO_SLOTS) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", step)
        site.flush_postgres()
        away(site, 0.5)
        site.assert_complete(handle, tasks)
        assert started(site, handle, step) == 1
        assert lives(worker)


def end_while_it_is_away(site: Site, without: str | None) -> tuple[TaskHandle, dict[str, Any]]:
    """Run a step whose end falls into an outage."""
    step = chore("sleep", 1)
    tasks = [step, chore("echo", "after it", step)]
    with site.worker(*TWO_SLOTS, without=without) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", step)
        site.flush_postgres()
        away(site, 1.5)
        site.assert_complete(handle, tasks)
        assert lives(worker)
    return handle, step


def test_at_the_end_of_a_step(site: Site) -> None:
    handle, step = end_while_it_is_away(site, None)
    assert started(site, handle, step) == 1, "its result was kept until it could be written"


def test_without_patience_the_work_is_done_again(site: Site) -> None:
    handle, step = end_while_it_is_away(site, "patience")
    assert started(site, handle, step) == 2


@pytest.mark.parametrize("pool", POOLS)
def test_for_longer_than_a_lease(site: Site, pool: str) -> None:
    step = chore("sleep", 7)
    tasks = [step, chore("echo", "after it", step)]
    with site.worker("-P", pool, *TWO_SLOTS) as worker, site.worker(*TWO_SLOTS) as other:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", step)
        site.flush_postgres()
        away(site, 5)
        # Whoever comes first, the renewal or recovery: one of them owns it, and one records it.
        site.assert_complete(handle, tasks, 40)
        assert started(site, handle, step) in {1, 2}
        assert lives(worker)
        assert lives(other)


def test_connections_that_are_cut_again_and_again(site: Site) -> None:
    tasks = [chore("sleep", 0.2) for _ in range(30)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker("-P", "prefork", *TWO_SLOTS) as worker:
        handle = site.submit(tasks)
        for task in tasks[2:20:3]:
            wait_until(lambda: site.manager.get(task["id"]).finished_at)  # noqa: B023
            site.database.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        site.assert_complete(handle, tasks)
        assert lives(worker)


def test_a_claim_that_the_server_has_lost(site: Site) -> None:
    """A claim does not wait for the disk; whoever held a lost one is fenced out by the next."""
    site.database.rows("ALTER SYSTEM SET wal_writer_delay = '10s'")
    site.database.rows("SELECT pg_reload_conf()")
    executions = ExecutionStore(site.database)
    step = chore("echo", "once")
    handle = site.submit([step])

    def claimed() -> Claim:
        claim = executions.claim(step["id"], "chore.echo", "somebody", 60)
        assert isinstance(claim, Claim)
        return claim

    lost = claimed()
    away(site, 0)
    assert site.kinds(handle, "started") == []
    assert site.manager.get(step["id"]).state == "queued"
    with pytest.raises(LeaseLost):
        executions.finish(lost, "succeeded", result="of the lost claim")
    held = claimed()
    assert held.fence > lost.fence
    with pytest.raises(LeaseLost):
        executions.finish(lost, "succeeded", result="of the lost claim")
    executions.finish(held, "succeeded", result="of the claim")
    away(site, 0)
    assert site.kinds(handle, "started") == [step["id"]]
    assert site.manager.get(step["id"]).result == "of the claim"
