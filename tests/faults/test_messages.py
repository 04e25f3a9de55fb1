"""Messages that are lost on the way or come once too often, cancelled work, and graphs of odd shapes.
The controls take away recovery and the claim.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, lives
from tests.faults.conftest import Site

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]
long = pytest.mark.faults_long


# A worker takes a message out of its queue and dies before it has noted that it has it


def swallow(site: Site) -> tuple[TaskHandle, list[dict[str, Any]]]:
    """Lose a message between the broker and a worker; that takes some tries."""
    for _ in range(8):
        with site.worker(*TWO_SLOTS) as doomed:
            time.sleep(0.3)
            os.killpg(doomed.process.pid, signal.SIGSTOP)
            tasks = [chore("echo", "swallowed")]
            handle = site.submit(tasks)
            doomed.kill()
        if not site.left():
            assert site.kinds(handle, "started") == []
            return handle, tasks
        handle.cancel()
        site.broker.flushall()
    raise AssertionError("no message was lost")


@long
def test_a_message_that_a_dying_worker_swallowed(site: Site) -> None:
    handle, tasks = swallow(site)
    with site.worker(*TWO_SLOTS):
        site.assert_complete(handle, tasks)


@long
def test_without_recovery_it_is_lost(site: Site) -> None:
    handle, tasks = swallow(site)
    site.environ["AI_AGENT__RECOVERY__ENABLED"] = "false"
    with site.worker(*TWO_SLOTS):
        time.sleep(6)  # nothing happens
    assert site.manager.get(tasks[0]["id"]).state == "queued"
    assert handle.state == "expanded"


# Every message twice


@long
def test_without_the_claim_every_message_runs(site: Site) -> None:
    """The control of the test of the same name in test_broker."""
    tasks = [chore("sleep", 0.2) for _ in range(6)]
    handle = site.submit(tasks)
    for key, raw in site.queued():
        site.broker.lpush(key, raw)
    with site.worker(*TWO_SLOTS, without="claim"):
        wait_until(lambda: max(Counter(site.kinds(handle, "started")).values(), default=0) > 1)


# The broker is full


@long
def test_the_stock_consumer_loses_what_a_full_broker_had_accepted(site: Site) -> None:
    """The control of `test_a_broker_that_is_full` in test_broker."""
    tasks = [chore("sleep", 1) for _ in range(3)]
    with site.worker(*TWO_SLOTS, without="consumer") as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", tasks[0])
        site.broker.config_set("maxmemory", 1)
        wait_until(lambda: "messages are no longer with the broker" in worker.text())
        site.broker.config_set("maxmemory", 0)
        handle.cancel()


# Cancelled work


def hand_in_every_state(site: Site) -> tuple[TaskHandle, list[dict[str, Any]]]:
    """Hand in tasks of which some run, some are queued, one waits for its retry, some for others."""
    retry = {"max": 3, "seconds": 2, "backoff": "fixed"}
    delayed = {**chore("fail", "again later"), "priority": "critical", "retry": retry}
    running = [{**chore("sleep", 60), "priority": "high"} for _ in range(2)]
    queued = [chore("echo", number) for number in range(20)]
    tasks = [delayed, *running, *queued, chore("echo", "last", *queued)]
    handle = site.submit(tasks)
    site.wait_for(handle, "retried", delayed)
    for task in running:
        site.wait_for(handle, "started", task)
    return handle, tasks


def started_after_the_end(handle: TaskHandle) -> list[str]:
    events = [event["kind"] for event in handle.events()]
    return [kind for kind in events[events.index("cancelled") :] if kind == "started"]


def test_cancelling_reaches_what_runs_what_is_queued_and_what_is_delayed(site: Site) -> None:
    with site.worker(*TWO_SLOTS) as worker:
        handle, _ = hand_in_every_state(site)
        handle.cancel()
        # Both slots are free again at once.
        after = [chore("sleep", 0.1) for _ in range(4)]
        site.assert_complete(site.submit(after), after, 5)
        time.sleep(3)  # the retry would have been due
        wait_until(lambda: not site.left())
        assert lives(worker)
    assert {task["state"] for task in handle.tree()["tasks"]} == {"cancelled"}
    assert started_after_the_end(handle) == []


@long
def test_without_the_claim_cancelled_work_starts(site: Site) -> None:
    with site.worker(*TWO_SLOTS, without="claim"):
        handle, _ = hand_in_every_state(site)
        handle.cancel()
        wait_until(lambda: started_after_the_end(handle))


# Odd shapes


@long
def test_a_thousand_at_once_and_a_join(site: Site) -> None:
    tasks = [chore("echo", number) for number in range(1000)]
    tasks.append(chore("echo", "all", *tasks))
    with site.worker("-c", "8"):
        site.assert_complete(site.submit(tasks), tasks, 60)


@long
def test_joins_that_nest_deeper_than_the_pool_of_connections(site: Site) -> None:
    """Celery's own canvases would take a connection for each level, and wait for one for ever."""
    tasks: list[dict[str, Any]] = []
    for level in range(70):
        needed = tasks[-2:]
        tasks += [chore("echo", level, *needed), chore("echo", level, *needed)]
    assert site.app.conf.broker_pool_limit < 70
    with site.worker(*TWO_SLOTS):
        site.assert_complete(site.submit(tasks), tasks, 60)
