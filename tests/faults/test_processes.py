"""Processes are killed and frozen in the middle of a step: it is run again, recorded once, and whoever
comes too late is refused. The controls have no recovery, no limit, no fence.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from celery_app.errors import LeaseLost
from celery_app.handles import TaskHandle
from celery_app.store.execution import ExecutionStore
from celery_app.store.records import Claim
from celery_app.testing.processes import kill, wait_until
from tests.chores import TWO_SLOTS, chore, lives
from tests.faults.conftest import Site
from tests.worker_process import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

#: Seconds of a lease in these tests (tests/conftest.py).
LEASE = 3.0
PREFORK = ("-P", "prefork", *TWO_SLOTS)


def own(name: str, value: Any, *needed: dict[str, Any]) -> dict[str, Any]:
    return {**chore("echo", value, *needed), "task": f"own.{name}"}


def row(site: Site, task: dict[str, Any]) -> Any:
    return site.database.row(
        "SELECT state, attempts, tries, losses FROM task WHERE id = :id", id=task["id"]
    )


def children(worker: WorkerProcess) -> list[psutil.Process]:
    return list(psutil.Process(worker.process.pid).children())


# A child of the pool dies


def kill_child_under(site: Site, worker: WorkerProcess) -> tuple[TaskHandle, list[dict[str, Any]]]:
    """Run a graph in one child; kill that in the middle of the first task."""
    step = chore("sleep", 1.5)
    tasks = [step, chore("echo", "after it", step)]
    handle = site.submit(tasks)
    site.wait_for(handle, "started", step)
    for child in children(worker):
        child.kill()
    return handle, tasks


def test_a_killed_child_costs_one_lease_and_no_try(site: Site) -> None:
    with site.worker(*PREFORK) as worker:
        handle, tasks = kill_child_under(site, worker)
        died = time.monotonic()
        site.wait_for(handle, "started", tasks[0], times=2)
        assert time.monotonic() < died + LEASE + 2
        site.assert_complete(handle, tasks)
        assert lives(worker)
    assert tuple(row(site, tasks[0])) == ("succeeded", 2, 0, 1)


@pytest.mark.faults_long
def test_without_recovery_a_killed_child_strands_the_graph(site: Site) -> None:
    site.environ["AI_AGENT__RECOVERY__ENABLED"] = "false"
    with site.worker(*PREFORK) as worker:
        handle, tasks = kill_child_under(site, worker)
        time.sleep(2 * LEASE + 2)  # nothing happens
        assert row(site, tasks[0]).state == "running"
        assert handle.state == "expanded"


# A task kills whoever runs it


@pytest.mark.faults_long
def test_what_always_kills_is_failed_with_the_reason(site: Site) -> None:
    poison = own("kill", "whoever runs it")
    others = [chore("sleep", 0.3) for _ in range(4)]
    with site.worker(*PREFORK) as worker:
        handle = site.submit([poison, *others])
        wait_until(lambda: handle.state == "failed", 40, handle.tree)
        assert lives(worker)
        after = chore("echo", "the worker lives")
        site.assert_complete(site.submit([after]), [after])
    failed = next(task for task in handle.tree()["tasks"] if task["id"] == poison["id"])
    assert failed["error"]["type"] == "PoisonTask"
    assert "vanished 3 times" in failed["error"]["message"]
    assert [row(site, task).state for task in others] == ["succeeded"] * 4
    assert row(site, poison).attempts == 3


@pytest.mark.faults_long
def test_without_a_limit_it_goes_on_killing(site: Site) -> None:
    poison = own("kill", "whoever runs it")
    site.environ["AI_AGENT__RECOVERY__POISON_LIMIT"] = "1000"
    with site.worker(*PREFORK):
        handle = site.submit([poison])
        wait_until(lambda: row(site, poison).losses > 3, 40)
        handle.cancel()


# An executor stands still for longer than its lease


def freeze_one(site: Site, without: str | None = None) -> tuple[dict[str, Any], int, int]:
    """Freeze a worker in the middle of a step until another one runs that; then both end it.

    Returns:
        The step, and the processes that were first and second.
    """
    step = own("pause", 5)
    with site.worker(*TWO_SLOTS, without=without) as first:
        handle = site.submit([step])
        site.wait_for(handle, "started", step)
        with site.worker(*TWO_SLOTS, without=without) as second:
            os.killpg(first.process.pid, signal.SIGSTOP)
            try:
                site.wait_for(handle, "started", step, times=2)
            finally:
                os.killpg(first.process.pid, signal.SIGCONT)
            site.assert_complete(handle, [step])
            return step, first.process.pid, second.process.pid


@pytest.mark.faults_long
def test_whoever_stood_still_is_fenced_out(site: Site) -> None:
    step, _, second = freeze_one(site)
    assert site.manager.get(step["id"]).result == second
    assert row(site, step).losses == 1


@pytest.mark.faults_long
def test_without_the_fence_the_late_one_is_believed(site: Site) -> None:
    step, first, _ = freeze_one(site, without="fence")
    assert site.manager.get(step["id"]).result == first


@contextmanager
def an_old_and_a_new_claim(site: Site) -> Iterator[tuple[ExecutionStore, Claim, Claim]]:
    """Two owners of one task, of whom the first has lost it."""
    step = chore("echo", 1)
    site.submit([step])
    store = ExecutionStore(site.database)
    old = store.claim(step["id"], "chore.echo", "first", -1)
    assert store.requeue_expired(1000) == []
    new = store.claim(step["id"], "chore.echo", "second", 60)
    assert isinstance(old, Claim)
    assert isinstance(new, Claim)
    assert new.fence > old.fence
    yield store, old, new


def test_every_write_under_an_old_token_is_refused(site: Site) -> None:
    with an_old_and_a_new_claim(site) as (store, old, new):
        assert store.renew({old.id: old.fence}, 60) == set()
        assert not store.put_back(old, 0)
        for state in ("succeeded", "failed"):
            with pytest.raises(LeaseLost):
                store.finish(old, state)
        assert store.hand_back("first") == []
        # The control: the newest token may do all that.
        assert store.renew({new.id: new.fence}, 60) == {new.id}
        store.finish(new, "succeeded", result=1)
        with pytest.raises(LeaseLost):
            store.finish(old, "succeeded")


# Processes that only look


@pytest.mark.faults_long
@pytest.mark.parametrize("command", [["beat", "-s", "schedule"], ["flower", "--port=0"]])
def test_beat_and_flower_may_die_at_any_time(
    site: Site, tmp_path: Path, command: list[str]
) -> None:
    tasks = [chore("sleep", 0.2) for _ in range(10)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker(*TWO_SLOTS) as worker, (tmp_path / "log").open("w+") as log:
        beside = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_app", *command],
            env={**os.environ, **site.environ}, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            handle = site.submit(tasks)
            site.wait_for(handle, "succeeded", tasks[0])
            time.sleep(1)  # it has begun to look
            assert beside.poll() is None, Path(log.name).read_text()
        finally:
            kill(beside.pid)
            beside.wait()
        site.assert_complete(handle, tasks)
        assert lives(worker)
