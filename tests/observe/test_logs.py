"""What is said becomes lines and rows: complete, in order, with the ids of its work, without secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from structlog.contextvars import bound_contextvars

from celery_app import LogContext, LogEvent, LogManager, LogStore
from celery_app.celery import app, database, logs
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.errors import ConfigurationError
from celery_app.log_lines import line_handler, plain
from celery_app.monitoring_settings import StoredLogs
from celery_app.observe.log_handler import StoreHandler
from celery_app.observe.processors import Sampling, UserProcessor, processors_of
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate
from celery_app.records import EnrichedLogEvent
from celery_app.redaction import MARK
from celery_app.stack.postgres import PostgresServer
from celery_app.stack.stack import Stack
from celery_app.store.logs import LogFilter, StoredEvent
from tests.observe import talking
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.timeout(240)

TALKING = f"[tests.own_tasks, {talking.__name__}]"


def wait_until(happened: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said(name: str) -> str:
    """Return a name that nobody else uses."""
    return f"{name}-{uuid4().hex[:8]}"


def of(task_id: str, limit: int = 20_000) -> list[StoredEvent]:
    return logs.find(LogFilter(task_id=task_id), limit=limit)


def messages(events: list[StoredEvent]) -> list[str]:
    return [each.event.event.message for each in events]


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
        wait_until(lambda: len(of(plain_task.id)) == 3)
        for task, word in zip(graph, words, strict=True):
            # Each process of a pool keeps what it has heard by itself.
            wait_until(lambda task=task: len(of(task["id"])) == 3)  # type: ignore[misc]
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
        wait_until(lambda: file.exists() and " ready." in file.read_text())
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
        wait_until(lambda: file.exists() and " ready." in file.read_text())
    finally:
        worker.stop()
    assert not file.read_text().startswith("{")


class TestAwayAndBack:
    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[tuple[PostgresServer, Database]]:
        server = PostgresServer(tmp_path)
        stack = Stack(tmp_path, [server])
        stack.start()
        from celery_app.stack.postgres import DATABASE, PORT, USER
        from celery_app.urls import database_url

        where = Database(database_url(USER, None, str(server.socket.parent), PORT, DATABASE))
        migrate(where)
        yield server, where
        where.dispose()
        stack.stop()

    def test_nothing_is_lost_while_postgres_restarts(
        self, server: tuple[PostgresServer, Database]
    ) -> None:
        postgres, where = server
        store = LogStore(where)
        manager = LogManager(store)
        for each in range(50):
            manager.log(LogEvent(message=f"{each}"))
        assert store.flush(30)
        Stack(postgres.home.path, [postgres]).stop()
        for each in range(50, 100):
            manager.log(LogEvent(message=f"{each}"))
        assert not store.flush(2)
        Stack(postgres.home.path, [postgres]).start()
        assert store.flush(60)
        assert messages(store.find(limit=1000)) == [f"{each}" for each in range(100)]
        store.close()

    def test_what_the_buffer_cannot_hold_is_counted(
        self, server: tuple[PostgresServer, Database]
    ) -> None:
        postgres, where = server
        store = LogStore(where, size=10)
        manager = LogManager(store)
        Stack(postgres.home.path, [postgres]).stop()
        manager.log(LogEvent(message="0"))
        assert not store.flush(3)
        begun = time.monotonic()
        for each in range(1, 25):
            manager.log(LogEvent(message=f"{each}"))
        assert time.monotonic() - begun < 5, "nobody waits for a server that is away"
        Stack(postgres.home.path, [postgres]).start()
        wait_until(lambda: len(store.find(limit=100)) == 11)
        found = messages(store.find(limit=100))
        assert found[:10] == [f"{each}" for each in range(10)]
        assert found[10] == "15 events of the log were lost while Postgres was away"
        store.close()


def test_a_full_buffer_makes_whoever_logs_wait(client: Client) -> None:
    name = said("flood")
    store = LogStore(database, size=5)
    manager = LogManager(store)
    for each in range(200):
        manager.log(LogEvent(message=f"{each}"), LogContext(task_id=name))
    assert store.flush(30)
    assert messages(of(name)) == [f"{each}" for each in range(200)]
    store.close()


class TestWhatIsKept:
    @pytest.fixture
    def handler(self, client: Client) -> StoreHandler:
        return StoreHandler(LogManager(), StoredLogs())

    def say(self, handler: StoreHandler, logger: str, level: int, words: str) -> None:
        record = logging.getLogger(logger).makeRecord(logger, level, "", 0, words, (), None)
        if record.levelno >= handler.level:
            handler.handle(record)

    def test_ours_from_info_on_and_others_from_warning_on(self, handler: StoreHandler) -> None:
        name = said("kept")
        for logger in ("celery_app.x", "celery.worker", "shop"):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING):
                self.say(handler, logger, level, f"{name} {logger} {level}")
        found = [words for words in messages(logs.find(limit=100)) if name in words]
        assert found == [
            f"{name} celery_app.x 20", f"{name} celery_app.x 30", f"{name} celery.worker 30",
            f"{name} shop 30",
        ]  # fmt: skip

    def test_what_is_said_within_a_task_is_its_own(self, handler: StoreHandler) -> None:
        task_id = said("task")
        with bound_contextvars(task_id=task_id):
            for logger in ("shop", "celery.app.trace", "celery_app.x"):
                self.say(handler, logger, logging.INFO, logger)
        assert messages(of(task_id)) == ["shop", "celery_app.x"]

    def test_off_keeps_nothing(self, client: Client) -> None:
        handler = StoreHandler(LogManager(), StoredLogs(level="OFF", others="OFF"))
        name = said("off")
        self.say(handler, "celery_app.x", logging.CRITICAL, name)
        assert name not in messages(logs.find(limit=20))


class TestProcessors:
    def event(self, message: str = "m", **fields: Any) -> EnrichedLogEvent:
        event = LogEvent(message=message, **{k: v for k, v in fields.items() if k != "trace_id"})
        return EnrichedLogEvent(
            timestamp=event.at,
            event=event,
            context=LogContext(),
            trace_id=fields.get("trace_id"),
        )

    def test_no_secret_is_kept_wherever_it_stands(self, client: Client) -> None:
        task_id = said("task")
        secret = "redis://:s3cret-x@host/0"
        LogManager().log(
            LogEvent(
                message=f"to {secret}",
                details={"url": secret, "deep": [{"password": 12345678}], "odd": {object: secret}},
                exception=f"Traceback: {secret}",
            ),
            LogContext(task_id=task_id, values={"from": secret}),
        )
        (kept,) = of(task_id)
        text = json.dumps(kept.as_json())
        assert "s3cret-x" not in text
        assert "12345678" not in text
        assert text.count(MARK) == 6

    def test_odd_values_are_kept_as_words(self, client: Client) -> None:
        task_id = said("task")
        knot: dict[str, Any] = {}
        knot["again"] = knot
        details = {
            "nan": float("nan"),
            "set": {1},
            "knot": knot,
            "bytes": b"\0",
            "text": "\0\ud800",
        }
        LogManager().log(
            LogEvent(message="\0 \ud800", logger="odd\0", details=details),
            LogContext(task_id=task_id),
        )
        (kept,) = of(task_id)
        assert kept.event.event.details["nan"] == "nan"
        assert kept.event.event.details["set"] == [1]
        assert kept.event.event.logger == "odd"

    def test_of_a_run_everything_or_nothing_is_sampled(self) -> None:
        sampling = Sampling({"celery_app": 0.3})
        runs = [str(each) for each in range(1000)]
        kept = {
            run for run in runs if sampling.process(self.event(logger="celery_app.x", trace_id=run))
        }
        assert 200 < len(kept) < 400
        for run in runs[:50]:
            again = sampling.process(self.event(logger="celery_app.y.z", trace_id=run))
            assert (again is not None) == (run in kept)

    def test_what_is_bad_or_not_named_is_never_left_out(self) -> None:
        sampling = Sampling({"celery_app": 0.0})
        assert sampling.process(self.event(logger="celery_app.x")) is None
        assert sampling.process(self.event(logger="celery_app.x", level="WARNING"))
        assert sampling.process(self.event(logger="celery_apple"))

    def test_the_users_own_come_last(self) -> None:
        own = "tests.observe.talking.shout"
        chain = processors_of(StoredLogs(processors=[own], sample={"x": 0.5}))
        assert [type(each).__name__ for each in chain] == ["Redaction", "Sampling", "UserProcessor"]
        changed = chain[-1].process(self.event("hello"))
        assert changed is not None
        assert changed.event.message == "HELLO"
        assert chain[-1].process(self.event("hush")) is None

    def test_one_that_fails_loses_nothing(self) -> None:
        kept = UserProcessor("tests.observe.talking.shout").process(self.event("boom"))
        assert kept is not None
        assert kept.event.message == "boom"
        assert "the processor fails" in kept.event.details["processor_failed"]

    @pytest.mark.parametrize("name", ["nowhere.at.all", "json", "json.nothing", "json.__doc__", ""])
    def test_one_that_is_not_there_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match=f"processors: '{name}'"):
            UserProcessor(name)


def test_a_line_is_json_without_secrets_whatever_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    handler = line_handler(str(file), "json")
    logger = logging.Logger("x")
    logger.addHandler(handler)
    logger.info("password=hunter2 %s", "and", extra={"token": 5, "password": 7, "fine": {1: "ü"}})
    logger.info('a "quoted" \n line')
    try:
        int("api_key=abcdefgh")
    except ValueError:
        logger.exception("it failed")
    handler.close()
    first, second, third = [json.loads(line) for line in file.read_text().splitlines()]
    assert first["event"] == f"password={MARK} and"
    assert first["password"] == MARK
    assert first["fine"] == {"1": "ü"}
    assert second["event"] == 'a "quoted" \n line'
    assert "ValueError" in third["exception"]
    assert "abcdefgh" not in file.read_text()


def test_plain_values_end_somewhere() -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    assert json.dumps(plain(deep))


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


class TestTheCommand:
    def run(self, *args: str) -> str:
        done = CliRunner().invoke(cli, ["logs", *args])
        assert done.exit_code == 0, done.output
        return done.stdout

    def test_it_shows_what_was_asked_for(self, client: Client) -> None:
        task_id = str(uuid4())
        manager = LogManager()
        context = LogContext(task_id=task_id, trace_id=str(uuid4()), agent_id=said("agent"))
        manager.log(LogEvent(message="small", details={"a": 1}), context)
        manager.log(LogEvent(message="bad", level="ERROR", exception="Traceback\n  x"), context)
        shown = [json.loads(line) for line in self.run("--task", task_id, "--json").splitlines()]
        assert [each["message"] for each in shown] == ["small", "bad"]
        assert shown[0]["details"] == {"a": 1}
        assert (shown[0]["task_id"], shown[0]["agent_id"]) == (task_id, context.agent_id)
        for option in (("--run", str(context.trace_id)), ("--agent", str(context.agent_id))):
            assert "bad" in self.run(*option)
            assert "small" not in self.run(*option, "--level", "warning")
        assert self.run("--task", task_id, "--since", "2100-01-01T00:00:00Z") == ""
        assert "small" in self.run("--task", task_id, "--since", "1h")
        assert self.run("--task", task_id, "--limit", "1").count("bad") == 1
        assert "    Traceback\n      x" in self.run("--task", task_id)

    def test_it_follows_by_push(self, client: Client) -> None:
        agent = said("agent")
        manager = LogManager()
        manager.log(LogEvent(message="before"), LogContext(agent_id=agent))
        logs.flush()
        follower = subprocess.Popen(
            [sys.executable, "-m", "celery_app", "logs", "--agent", agent, "--follow", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        lines: list[tuple[float, str]] = []
        assert follower.stdout is not None
        output = follower.stdout

        def read() -> None:
            lines.extend((time.time(), json.loads(line)["message"]) for line in output)

        reader = threading.Thread(target=read)
        reader.start()

        def reached(number: int) -> bool:
            return len(lines) == number

        try:
            wait_until(partial(reached, 1))
            delays = []
            for each in range(3):
                begun = time.time()
                manager.log(LogEvent(message=f"{each}"), LogContext(agent_id=agent))
                wait_until(partial(reached, each + 2))
                delays.append(lines[-1][0] - begun)
            assert [message for _, message in lines] == ["before", "0", "1", "2"]
            assert min(delays) < 2, "it was pushed, for nobody looks within five seconds"
        finally:
            follower.terminate()
            follower.wait(timeout=20)
            reader.join()
            output.close()

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (("--task", "xyz"), "is no task id"),
            (("--since", "yesterday"), "is not a moment"),
            (("--level", "loud"), "is not one of"),
            (("--limit", "0"), "is not in the range"),
        ],
    )
    def test_bad_input_is_refused(self, args: tuple[str, ...], words: str) -> None:
        done = CliRunner().invoke(cli, ["logs", *args])
        assert done.exit_code == 2
        assert words in done.output
