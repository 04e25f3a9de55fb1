"""The broker is killed, emptied, frozen, filled and fed with garbage; the workers live on, every graph
completes, each task is recorded once. What a guard of the worker achieves has a control without it.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celery_app.testing.processes import wait_until
from tests.faults.conftest import VISIBILITY_TIMEOUT, Site
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.chaos

LONG = VISIBILITY_TIMEOUT + 1.5
#: A worker that does not first look for others, which takes a second.
QUICK = ("-c", "2")


def chore(name: str, value: Any, *needed: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "task": f"chore.{name}",
        "args": [value],
        "dependencies": [task["id"] for task in needed],
    }


def received(worker: WorkerProcess, task_id: str) -> int:
    """How often a worker was given the message of a task."""
    return worker.text().count(f"[{task_id}] received")


def lives(worker: WorkerProcess) -> bool:
    return worker.process.poll() is None


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
    with site.worker(*QUICK, without="consumer") as worker:
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        with site.broker_away(worker):
            pass
        assert worker.wait(timeout=15) == 1


@pytest.mark.faults_long
def test_a_broker_that_is_away_for_longer_than_the_visibility_timeout(site: Site) -> None:
    long = chore("sleep", 2 * VISIBILITY_TIMEOUT + 1.5)
    # The keeper may come back too late for the first sweep; here it never does.
    with site.worker(*QUICK, without="keeper") as worker:
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        with site.broker_away(worker):
            time.sleep(VISIBILITY_TIMEOUT + 1)  # the fault itself
        site.assert_complete(handle, [long])
        assert received(worker, long["id"]) == 1


@pytest.mark.faults_long
def test_tasks_that_end_while_the_broker_is_away(site: Site) -> None:
    tasks = [chore("sleep", 1), chore("sleep", 1.2)]
    with site.worker("-c", "4") as worker:
        handle = site.submit(tasks)
        for task in tasks:
            site.wait_for(handle, "started", task)
        with site.broker_away(worker):
            for task in tasks:
                site.wait_for(handle, "succeeded", task)
        site.assert_complete(handle, tasks)
        assert [received(worker, task["id"]) for task in tasks] == [1, 1]


@pytest.mark.faults_long
def test_a_worker_that_is_to_end_while_the_broker_is_away(site: Site) -> None:
    long = chore("sleep", 1)
    with site.worker(*QUICK) as worker:
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        with site.broker_away(worker):
            wait_until(lambda: "Cannot connect" in worker.text())
            worker.process.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=15) == 0
            site.wait_for(handle, "succeeded", long)
    with site.worker(*QUICK):
        site.assert_complete(handle, [long])


def test_connections_that_are_cut(site: Site) -> None:
    long = chore("sleep", 3)
    tasks = [long, chore("echo", "after it", long)]
    with site.worker(*QUICK) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", long)
        for kind in ("normal", "pubsub"):
            site.cut(kind)
        site.assert_complete(handle, tasks)
        assert received(worker, long["id"]) == 1


@pytest.mark.faults_long
def test_without_adoption_their_messages_stay_behind(site: Site) -> None:
    long = chore("sleep", 2)
    with site.worker(*QUICK, without="adopt") as worker:
        handle = site.submit([long])
        site.wait_for(handle, "started", long)
        site.cut("normal")
        site.wait_for(handle, "succeeded", long)
        with pytest.raises(AssertionError):
            wait_until(lambda: not site.left(), VISIBILITY_TIMEOUT)
        assert lives(worker)


def test_delayed_tasks_are_taken_up_again(site: Site) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=5)
    with site.worker(*QUICK) as worker:
        delayed = site.app.send_task("chore.echo", args=["later"], eta=moment)
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
    with site.worker(*QUICK, "-E") as worker:
        handle = site.submit(tasks)
        for task in tasks[::4]:
            site.wait_for(handle, "succeeded", task)
            site.cut("pubsub")
        site.assert_complete(handle, tasks)
        wait_until(lambda: f"{worker.name}@" in str(site.app.control.ping()))


# The visibility timeout


def run_long(site: Site, worker: WorkerProcess) -> tuple[Any, dict[str, Any], Any]:
    """Start a step and a delayed task, both longer than the visibility timeout."""
    step = chore("sleep", LONG)
    delayed = site.app.send_task("chore.echo", args=["later"], countdown=LONG)
    handle = site.submit([step])
    wait_until(lambda: received(worker, step["id"]) and received(worker, delayed.id))
    return handle, step, delayed


def test_what_takes_longer_than_the_visibility_timeout(site: Site) -> None:
    with site.worker(*QUICK) as worker:
        handle, step, delayed = run_long(site, worker)
        assert delayed.get(timeout=LONG + 10) == "later"
        site.assert_complete(handle, [step])
        assert [received(worker, step["id"]), received(worker, delayed.id)] == [1, 1]


@pytest.mark.faults_long
def test_without_the_keeper_it_is_delivered_again(site: Site) -> None:
    with site.worker(*QUICK, without="keeper") as worker:
        _, step, delayed = run_long(site, worker)
        wait_until(lambda: received(worker, step["id"]) > 1 and received(worker, delayed.id) > 1)


def end_slowly(site: Site, ending: WorkerProcess) -> tuple[Any, dict[str, Any]]:
    """Tell a worker to end while it runs a step longer than the visibility timeout."""
    step = chore("sleep", LONG)
    handle = site.submit([step])
    site.wait_for(handle, "started", step)
    ending.process.send_signal(signal.SIGTERM)
    return handle, step


@pytest.mark.faults_long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_warm_shutdown_longer_than_the_visibility_timeout(site: Site, pool: str) -> None:
    with site.worker("-P", pool, "-c", "2") as ending:
        handle, step = end_slowly(site, ending)
        with site.worker(*QUICK) as other:
            assert ending.wait(timeout=LONG + 10) == 0
            site.assert_complete(handle, [step])
            assert received(other, step["id"]) == 0


@pytest.mark.faults_long
def test_without_the_keeper_another_worker_gets_it(site: Site) -> None:
    with site.worker(*QUICK, without="keeper") as ending:
        _, step = end_slowly(site, ending)
        with site.worker(*QUICK) as other:
            wait_until(lambda: received(other, step["id"]))


@pytest.mark.faults_long
def test_a_broker_that_stands_still_for_longer(site: Site) -> None:
    step = chore("sleep", LONG + 2)
    tasks = [step, chore("echo", "after it", step)]
    with site.worker(*QUICK) as worker:
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
    with site.worker(*QUICK) as doomed:
        plain = site.app.send_task("chore.sleep", args=[1])
        wait_until(lambda: received(doomed, plain.id))
        doomed.kill()
        with site.worker(*QUICK) as other:
            assert plain.get(timeout=4 * VISIBILITY_TIMEOUT) == 1
            assert received(other, plain.id) == 1
        wait_until(lambda: not site.left())


def test_a_keeper_that_finds_kombu_changed_says_so_and_stays_off(site: Site) -> None:
    task = chore("echo", "goes on")
    with site.worker(*QUICK, without="index") as worker:
        site.assert_complete(site.submit([task]), [task])
        said = "kombu does not note the time of a delivery where it used to"
        wait_until(lambda: said in worker.text())
        (stats,) = site.app.control.inspect().stats().values()
        assert stats["messages"]["kept"] is False
        assert worker.text().count(said) == 1


# The broker forgets, or remembers too much


def test_a_broker_that_forgets_everything(site: Site) -> None:
    tasks = [chore("sleep", 0.3) for _ in range(8)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker(*QUICK) as worker:
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
    with site.worker(*QUICK) as worker:
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
    with site.worker(*QUICK) as worker:
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
    with site.worker(*QUICK):
        site.assert_complete(handle, tasks)
        assert sorted(site.kinds(handle, "started")) == sorted(site.kinds(handle, "succeeded"))


# The broker is full


@pytest.mark.faults_long
def test_a_broker_that_is_full(site: Site) -> None:
    tasks = [chore("sleep", 1) for _ in range(3)]
    tasks.append(chore("echo", "done", *tasks))
    with site.worker(*QUICK) as worker:
        handle = site.submit(tasks)
        site.wait_for(handle, "started", tasks[0])
        site.broker.config_set("maxmemory", 1)
        for task in tasks[:2]:
            site.wait_for(handle, "succeeded", task)
        late = chore("echo", "handed in meanwhile")
        other = site.submit([late])
        site.wait_for(handle, "succeeded", tasks[2])
        assert "runs unsecured" in worker.text()
        assert lives(worker)
        site.broker.config_set("maxmemory", 0)
        site.assert_complete(handle, tasks)
        site.assert_complete(other, [late])


# Somebody else writes into the queues


def a_message(**changes: Any) -> dict[str, Any]:
    """An ordinary message as kombu writes it, with changes to its headers."""
    task_id = str(uuid4())
    headers = {"lang": "py", "task": "chore.echo", "id": task_id, "root_id": task_id, **changes}
    info = {"exchange": "", "routing_key": "tasks"}
    return {
        "body": base64.b64encode(b'[["hello"], {}, {}]').decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": info,
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def without(message: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a message that lacks something."""
    place = message
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return message


def raw_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


NO_MESSAGE = "set aside what is no message"
NO_TASK = "set aside a message that is no task"
GARBAGE: dict[str, tuple[Any, str]] = {
    "bytes": (b"\xff\xfe\x00\x01", NO_MESSAGE),
    "no JSON": (b"{not json", NO_MESSAGE),
    "endless": (b"[" * 100_000, NO_MESSAGE),
    "a number": (5, NO_MESSAGE),
    "a list": ([1, 2, 3], NO_MESSAGE),
    "an empty object": ({}, NO_MESSAGE),
    "no properties": (without(a_message(), "properties"), NO_MESSAGE),
    "no tag": (without(a_message(), "properties", "delivery_tag"), NO_MESSAGE),
    "no address": (without(a_message(), "properties", "delivery_info"), NO_MESSAGE),
    "a body of another shape": ({**a_message(), "body": 7}, NO_MESSAGE),
    "a body that is no base64": ({**a_message(), "body": "a"}, NO_MESSAGE),
    "headers of another shape": ({**a_message(), "headers": "none"}, NO_MESSAGE),
    "a name of another shape": (a_message(task=["chore.echo"]), NO_TASK),
    "no id": (without(a_message(), "headers", "id"), NO_TASK),
    "a payload of another shape": (
        {**a_message(), "body": base64.b64encode(b"7").decode()},
        NO_TASK,
    ),
    "a payload that is no JSON": (
        {**a_message(), "body": base64.b64encode(b"{").decode()},
        "Can't decode message body",
    ),
    "a foreign type": (
        {**a_message(), "content-type": "application/x-python-serialize"},
        "Received invalid task message",
    ),
    "no headers": ({**a_message(), "headers": {}}, "Received and deleted unknown message"),
    "an unknown task": (a_message(task="nobody.knows.it"), "Received unregistered task"),
}


def test_garbage_is_set_aside(site: Site) -> None:
    before = chore("echo", "before")
    first = site.submit([before])
    ((_, old),) = site.queued()
    unknown = a_message(ai_agent=True)
    with site.worker(*QUICK) as worker:
        site.assert_complete(first, [before])
        for content, _ in GARBAGE.values():
            site.put(raw_bytes(content))
        for raw in (old, old, raw_bytes(unknown)):
            site.put(raw)
        after = [chore("sleep", 0.1), chore("sleep", 0.1)]
        site.assert_complete(site.submit(after), after)
        wait_until(lambda: received(worker, unknown["headers"]["id"]) == 1)
        assert lives(worker)
        text = worker.text()
    expected = [said for _, said in GARBAGE.values()]
    assert Counter({said: text.count(said) for said in expected}) == Counter(expected)
    assert text.count(f"task {before['id']} has succeeded already") == 2
    assert len(site.kinds(first, "succeeded")) == 2
    assert "Connection to broker lost" not in text


@pytest.mark.faults_long
@pytest.mark.parametrize("kind", ["no JSON", "a list"])
def test_the_stock_consumer_ends_with_garbage(site: Site, kind: str) -> None:
    content, _ = GARBAGE[kind]
    with site.worker(*QUICK, without="consumer") as worker:
        site.put(raw_bytes(content))
        assert worker.wait(timeout=15) == 1
