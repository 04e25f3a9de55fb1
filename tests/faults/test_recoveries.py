"""Several recoveries at once: what one of them sends, no other one sends as well. The control has no
lock between them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from celery_app.handles import TaskHandle
from celery_app.orchestrator.deadlines import Deadlines
from celery_app.orchestrator.project_deadlines import ProjectDeadlines
from celery_app.orchestrator.recovery import Recovery
from celery_app.queues import PriorityQueue
from celery_app.store.approvals import ApprovalStore
from celery_app.store.execution import ExecutionStore
from celery_app.store.runs import RunStore
from tests.chores import TWO_SLOTS, chore
from tests.faults.conftest import Site

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

#: Recoveries at once.
MANY = 4


class SlowQueue(PriorityQueue):
    """A queue at which everybody looks before anybody acts on what he saw, one after the other."""

    def __init__(self, site: Site, everybody: threading.Barrier, pause: float) -> None:
        super().__init__(site.app)
        self._everybody = everybody
        self._pause = pause

    def waiting_ids(self) -> set[str]:
        found = super().waiting_ids()
        with suppress(threading.BrokenBarrierError):
            self._everybody.wait(timeout=1)
        time.sleep(self._pause)
        return found


@dataclass
class Unlocked(Recovery):
    """Recovery that does not ask whether another one is at it."""

    def run(self) -> int:
        return self._pass()


def forgotten(site: Site, tasks: list[dict[str, Any]]) -> TaskHandle:
    """Hand in a graph whose messages the broker then forgets, long ago."""
    handle = site.submit(tasks)
    site.broker.flushall()
    site.database.rows(
        "UPDATE task SET published_at = clock_timestamp() - interval '1 minute' WHERE state = 'queued'"
    )
    return handle


def recover_at_once(site: Site, kind: Callable[..., Recovery]) -> list[int]:
    """Run many recoveries at the same time; return what each has sent again."""
    together = threading.Barrier(MANY)
    store, deadlines = ExecutionStore(site.database), Deadlines(site.database)
    passes = [
        kind(
            site.database,
            store,
            runs=RunStore(site.database),
            approvals=ApprovalStore(site.database),
            queue=SlowQueue(site, together, number / 5),
            deadlines=deadlines,
            project_deadlines=ProjectDeadlines(site.database),
            grace=2,
            poison_limit=3,
        )
        for number in range(MANY)
    ]
    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(lambda recovery: recovery.run(), passes))


def sent(site: Site, handle: TaskHandle) -> set[int]:
    """How often the tasks of a graph were sent."""
    return set(Counter(site.kinds(handle, "published")).values())


def test_one_of_many_sends_each_message_once(site: Site) -> None:
    tasks = [chore("echo", number) for number in range(10)]
    handle = forgotten(site, tasks)
    assert sorted(recover_at_once(site, Recovery)) == [0] * (MANY - 1) + [10]
    assert sum(site.left().values()) == 10
    assert sent(site, handle) == {2}
    with site.worker(*TWO_SLOTS):
        site.assert_complete(handle, tasks)


def test_without_the_lock_messages_are_sent_many_times(site: Site) -> None:
    tasks = [chore("echo", number) for number in range(10)]
    handle = forgotten(site, tasks)
    assert sum(recover_at_once(site, Unlocked)) > 10
    assert sum(site.left().values()) > 10
    assert max(sent(site, handle)) > 2
    # And even so the claims let each of them run once.
    with site.worker(*TWO_SLOTS):
        site.assert_complete(handle, tasks)
        assert set(Counter(site.kinds(handle, "started")).values()) == {1}


def test_many_find_each_lost_task_once(site: Site) -> None:
    tasks = [chore("echo", number) for number in range(10)]
    handle = site.submit(tasks)
    store = ExecutionStore(site.database)
    for task in tasks:
        assert store.claim(task["id"], "chore.echo", "nobody", -1)
    assert sum(recover_at_once(site, Recovery)) == 10
    assert Counter(site.kinds(handle, "lost")) == {task["id"]: 1 for task in tasks}
    with site.worker(*TWO_SLOTS):
        site.assert_complete(handle, tasks)


@pytest.mark.faults_long
def test_three_workers_recover_what_a_fourth_one_left(site: Site) -> None:
    tasks = [chore("sleep", 0.3) for _ in range(16)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker("-c", "8") as doomed:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", tasks[0])
        doomed.kill()
    site.broker.flushall()
    with site.worker(*TWO_SLOTS), site.worker(*TWO_SLOTS), site.worker(*TWO_SLOTS):
        site.assert_complete(handle, tasks, 40)
    again = Counter(site.kinds(handle, "started")) - Counter(site.kinds(handle, "lost"))
    assert set(again.values()) == {1}, "nothing ran twice but for the death"


def test_two_beats_recover_and_double_nothing(site: Site, tmp_path: Path) -> None:
    """The worker itself looks for nothing."""
    tasks = [chore("echo", number) for number in range(10)]
    handle = forgotten(site, tasks)
    with site.beat(tmp_path / "first"), site.beat(tmp_path / "second"):
        site.environ |= {"AI_AGENT__RECOVERY__ENABLED": "false"}
        with site.worker(*TWO_SLOTS):
            site.assert_complete(handle, tasks)
    published = Counter(site.kinds(handle, "published"))
    assert [published[task["id"]] for task in tasks] == [2] * 10, "once at first, and once again"
