"""What is said becomes lines and rows: complete, in order, with the ids of its work."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.contextvars import bound_contextvars

from celery_app import LogContext, LogEvent, LogManager, LogStore
from celery_app.celery import app, database, logs
from celery_app.client import Client
from celery_app.records import EnrichedLogEvent
from celery_app.testing.processes import wait_until
from tests.observe import talking
from tests.observe.kept import messages, of, said
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)


TALKING = f"[tests.own_tasks, {talking.__name__}]"


def test_an_event_is_kept_as_the_specification_says(client: Client) -> None:
    task_id = said("task")
    manager = LogManager()
    context = LogContext(agent_id="writer", task_id=task_id, trace_id="run-1", values={"round": 2})
    asyncio.run(manager.log_event(LogEvent(message="hello", details={"a": [1]}), context))
    assert isinstance(manager.log_store, LogStore)
    assert manager.processors
    (kept,) = of(task_id)
    assert set(EnrichedLogEvent.model_fields) == {
        "timestamp", "event", "context", "agent_id", "task_id", "trace_id", "additional_context",
    }  # fmt: skip
    told = kept.event
    assert (told.agent_id, told.task_id, told.trace_id) == ("writer", task_id, "run-1")
    assert (told.event.message, told.event.details) == ("hello", {"a": [1]})
    assert told.additional_context["round"] == 2
    assert told.context == context


def test_ids_that_are_bound_are_taken_where_the_context_names_none(client: Client) -> None:
    task_id = said("task")
    with bound_contextvars(task_id=task_id, trace_id="t", agent_id="planner", shift="late"):
        LogManager().log(LogEvent(message="within"))
        LogManager().log(LogEvent(message="named"), LogContext(agent_id="writer"))
    first, second = of(task_id)
    assert (first.event.agent_id, second.event.agent_id) == ("planner", "writer")
    assert first.event.additional_context["shift"] == "late"


def test_ten_thousand_events_of_four_processes_arrive_in_order(client: Client) -> None:
    names = [said("process") for _ in range(4)]
    programs = [
        subprocess.Popen([sys.executable, "-m", "tests.observe.talking", name, "2500"])
        for name in names
    ]
    assert [program.wait(timeout=200) for program in programs] == [0, 0, 0, 0]
    for name in names:
        found = of(name)
        assert messages(found) == [f"{name} {each}" for each in range(2500)]
        assert [each.number for each in found] == list(range(1, 2501))
        assert len({each.source for each in found}) == 1


def test_a_forked_child_keeps_its_own_words_and_none_of_its_parents(client: Client) -> None:
    name = said("forked")
    store = LogStore(database)
    manager = LogManager(store)
    manager.log(LogEvent(message="parent before"), LogContext(task_id=name))
    with warnings.catch_warnings():
        # Of a process with threads, as a prefork worker is.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        manager.log(LogEvent(message="child"), LogContext(task_id=name))
        os._exit(0 if store.flush(60) else 1)
    manager.log(LogEvent(message="parent after"), LogContext(task_id=name))
    assert os.waitpid(child, 0)[1] == 0
    assert store.flush(60)
    found = of(name)
    assert sorted(messages(found)) == ["child", "parent after", "parent before"]
    assert len({each.source for each in found}) == 2


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_ids_stand_on_every_line_of_a_task(client: Client, pool: str) -> None:
    environment = {"AI_AGENT__IMPORTS": TALKING}
    with WorkerProcess("-P", pool, "-c", "2", **environment) as worker:
        words = [said("words") for _ in range(4)]
        graph: list[dict[str, Any]] = [
            {"id": str(uuid4()), "task": "talking.say", "args": [each]} for each in words
        ]
        handle = client.submit_graph(graph)
        pids = handle.result(timeout=60)
        plain_task = app.send_task("talking.say", args=["alone"], queue="tasks")
        plain_task.get(timeout=60)
        if pool == "prefork":
            assert worker.process.pid not in pids.values()
        wait_until(lambda: len(of(plain_task.id)) == 3, 60)
        for task, word in zip(graph, words, strict=True):
            # Each process of a pool keeps what it has heard by itself.
            wait_until(lambda task=task: len(of(task["id"])) == 3, 60)  # type: ignore[misc]
            found = of(task["id"])
            assert sorted(messages(found)) == [
                f"by the task logger {word}", f"plain {word}", "structured",
            ]  # fmt: skip
            assert {each.event.trace_id for each in found} == {str(handle.id)}
            (structured,) = [each for each in found if each.event.event.details]
            assert structured.event.event.details == {"words": word, "count": 3}
        lines = [json.loads(line) for line in worker.text().splitlines() if line.startswith("{")]
    for task, word in zip(graph, words, strict=True):
        own = [line for line in lines if line.get("task_id") == task["id"]]
        assert [line["trace_id"] for line in own if word in line["event"]] == [str(handle.id)] * 2
        ended = [line for line in own if "succeeded in" in line["event"]]
        assert [line["logger"] for line in ended] == ["celery.app.trace"]
        assert ended[0]["trace_id"] == str(handle.id)
        assert any("received" in line["event"] for line in own)
    outside = [line for line in lines if "ready." in line["event"]]
    assert outside
    assert "task_id" not in outside[0]


def test_what_a_child_of_the_pool_said_last_is_kept(client: Client) -> None:
    """It ends within the time in which its words are gathered."""
    words = said("last")
    with WorkerProcess("-P", "prefork", "-c", "1", AI_AGENT__IMPORTS=TALKING):
        task = app.send_task("talking.say", args=[words], queue="tasks")
        task.get(timeout=60)
    wait_until(lambda: len(of(task.id)) == 3, 10)


def test_celerys_own_options_win(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    other = tmp_path / "other.log"
    settings = {"AI_AGENT__MONITORING__LOGGING__OUTPUT": str(other)}
    worker = WorkerProcess("-f", str(file), "-l", "DEBUG", "-c", "1", **settings)
    worker.start()
    try:
        wait_until(lambda: file.exists() and " ready." in file.read_text(), 60)
    finally:
        worker.stop()
    assert "[config]" in worker.text(), "the banner is where it was"
    assert '"level": "debug"' in file.read_text()
    assert all(json.loads(line) for line in file.read_text().splitlines())
    assert not other.exists()


def test_lines_for_people_go_where_the_settings_say(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "lines.log"
    settings = {
        "AI_AGENT__MONITORING__LOGGING__OUTPUT": str(file),
        "AI_AGENT__MONITORING__LOGGING__FORMAT": "console",
    }
    worker = WorkerProcess("-c", "1", **settings)
    worker.start()
    try:
        wait_until(lambda: file.exists() and " ready." in file.read_text(), 60)
    finally:
        worker.stop()
    assert not file.read_text().startswith("{")


def test_old_events_are_forgotten(client: Client) -> None:
    name = said("old")
    LogManager().log(LogEvent(message="new"), LogContext(task_id=name))
    LogManager().log(LogEvent(message="old"), LogContext(task_id=name))
    logs.flush()
    database.rows(
        "UPDATE log SET at = at - interval '31 days' WHERE task_id = :name AND number = "
        "(SELECT max(number) FROM log WHERE task_id = :name)",
        name=name,
    )
    assert logs.prune(30) == 1
    assert messages(of(name)) == ["new"]
