"""Workers that are told to end: what runs is finished in time or goes to another worker at once, has
lost no try, and is recorded once. The controls end as Celery does, without handing anything back.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until
from tests.chores import TWO_SLOTS, chore, received
from tests.faults.conftest import Site
from tests.faults.model_faults import FaultyModel, Mood
from tests.faults.test_model_server import roster as roster
from tests.faults.test_model_server import worker_of
from tests.worker_process import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]
long = pytest.mark.faults_long

#: Seconds in which a worker that is to end lets its tasks run on.
SOFT = 1.0
#: Seconds in which the other worker must have what was handed back.
SOON = 2.0
#: A shutdown of each kind: Celery's usual one, and the one that container images ask for.
KINDS = {"warm": {}, "cold": {"REMAP_SIGTERM": "SIGQUIT"}}


@contextmanager
def ending_worker(site: Site, pool: str, kind: str, without: str | None) -> Iterator[WorkerProcess]:
    """A worker that will end, and while it does."""
    environ = dict(site.environ)
    site.environ |= {"AI_AGENT__WORKER__SOFT_SHUTDOWN_TIMEOUT": str(SOFT), **KINDS[kind]}
    worker = site.worker("-P", pool, "-c", "4", without=without)
    site.environ = environ
    with worker:
        yield worker


def row(site: Site, task: dict[str, Any]) -> Any:
    return site.database.row("SELECT tries, losses, state FROM task WHERE id = :id", id=task["id"])


@pytest.mark.parametrize(
    ("kind", "pool"),
    [
        ("warm", "threads"),
        pytest.param("warm", "prefork", marks=long),
        pytest.param("cold", "threads", marks=long),
        ("cold", "prefork"),
    ],
)
def test_what_runs_is_finished_or_handed_back(site: Site, kind: str, pool: str) -> None:
    # Long enough that the other worker has started before it is over.
    short, slow = chore("sleep", 0.7), chore("sleep", 12)
    tasks = [short, slow, chore("echo", "after it", slow)]
    with ending_worker(site, pool, kind, None) as ending:
        handle = site.submit(tasks)
        for task in (short, slow):
            site.wait_for(handle, "started", task)
        with site.worker(*TWO_SLOTS) as other:
            ending.process.send_signal(signal.SIGTERM)
            site.wait_for(handle, "returned", slow)
            handed_back = time.monotonic()
            wait_until(lambda: f"[{slow['id']}] received" in other.text(), SOON)
            site.wait_for(handle, "started", slow, times=2)
            assert time.monotonic() < handed_back + SOON
            ending.wait(timeout=8)
            site.assert_complete(handle, tasks)
    assert site.kinds(handle, "returned") == [slow["id"]]
    assert site.kinds(handle, "started").count(short["id"]) == 1, "it was finished in time"
    assert [tuple(row(site, task))[:2] for task in (short, slow)] == [(0, 0), (0, 0)]
    assert "lost" not in [event["kind"] for event in handle.events()]


@long
def test_without_it_a_warm_shutdown_keeps_what_runs(site: Site) -> None:
    slow = chore("sleep", 6)
    with ending_worker(site, "threads", "warm", "ending") as ending:
        handle = site.submit([slow])
        site.wait_for(handle, "started", slow)
        with site.worker(*TWO_SLOTS) as other:
            ending.process.send_signal(signal.SIGTERM)
            time.sleep(SOFT + SOON)  # nothing happens
            assert ending.process.poll() is None
            site.assert_complete(handle, [slow])
            assert received(other, slow["id"]) == 0


@long
def test_without_it_a_cold_shutdown_is_a_loss(site: Site) -> None:
    slow = chore("sleep", 4)
    with ending_worker(site, "prefork", "cold", "ending") as ending:
        handle = site.submit([slow])
        site.wait_for(handle, "started", slow)
        with site.worker(*TWO_SLOTS):
            ending.process.send_signal(signal.SIGTERM)
            site.assert_complete(handle, [slow])
    assert site.kinds(handle, "lost") == [slow["id"]]
    assert row(site, slow).losses == 1


@long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_whoever_does_not_listen_is_fenced_out(site: Site, pool: str) -> None:
    deaf = {**chore("sleep", 5), "task": "own.pause"}
    with ending_worker(site, pool, "warm", None) as ending:
        handle = site.submit([deaf])
        site.wait_for(handle, "started", deaf)
        with site.worker(*TWO_SLOTS):
            ending.process.send_signal(signal.SIGTERM)
            site.wait_for(handle, "returned", deaf)
            site.wait_for(handle, "started", deaf, times=2)
            assert ending.process.poll() is None, "it runs on"
            # It comes to its end while the other one runs.
            ending.wait(timeout=10)
            assert row(site, deaf).state == "running", "what it wrote was refused"
            site.assert_complete(handle, [deaf])
    assert tuple(row(site, deaf))[:2] == (0, 0)


@long
def test_an_idle_worker_ends_at_once(site: Site) -> None:
    for kind in KINDS:
        with ending_worker(site, "threads", kind, None) as ending:
            ending.process.send_signal(signal.SIGTERM)
            ending.wait(timeout=SOFT + 4)


@long
@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_ends_while_postgres_is_away(site: Site, kind: str) -> None:
    slow = chore("sleep", 60)
    with ending_worker(site, "prefork" if kind == "cold" else "threads", kind, None) as ending:
        handle = site.submit([slow])
        site.wait_for(handle, "started", slow)
        site.flush_postgres()
        site.cut_off_postgres()
        ending.process.send_signal(signal.SIGTERM)
        if kind == "cold":
            ending.wait(timeout=20)
        else:
            time.sleep(SOFT + 0.5)  # it begins to hand back in vain
        site.postgres.start()
        ending.wait(timeout=20)
    wait_until(lambda: site.postgres.pid is not None)
    with site.worker(*TWO_SLOTS):
        site.wait_for(handle, "started", slow, times=2)
        handle.cancel()
        wait_until(lambda: not site.left(), 10)


# Model calls


@pytest.fixture
def model() -> Iterator[FaultyModel]:
    with FaultyModel() as server:
        yield server


@long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_model_call_is_broken_off_and_earlier_answers_are_replayed(
    client: Client, model: FaultyModel, roster: Path, pool: str
) -> None:
    """The planner's first answer is no plan and recorded; the end comes while it is repaired."""
    model.mood, model.pause = Mood.PROSE, 0.2
    settings = {"AI_AGENT__WORKER__SOFT_SHUTDOWN_TIMEOUT": str(SOFT)}
    with worker_of(model, roster, "-P", pool, "-c", "2", environ=settings) as ending:
        handle = client.submit("Report about the mill and its visitors", plan=True)
        wait_until(lambda: model.under_way == 1)
        time.sleep(0.2)  # the first words of its answer
        model.mood, model.words, model.pause = Mood.WELL, 200, 0.3
        wait_until(lambda: len(model.asked) == 2, why="the second call is under way")
        assert calls(handle) == 1
        ending.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "returned" in [event["kind"] for event in handle.events()])
        wait_until(lambda: model.under_way == 0, SOON, "the call was broken off")
        assert ending.wait(timeout=8) == 0
    model.words, model.pause = 3, 0.02
    asked = list(model.asked)
    with worker_of(model, roster):
        assert handle.result(timeout=30)
    assert model.asked[2] == asked[1], "it goes on where it was"
    assert model.asked.count(asked[0]) == 1, "what was recorded is not asked again"


def calls(handle: TaskHandle) -> int:
    return len(handle.tree()["calls"])
