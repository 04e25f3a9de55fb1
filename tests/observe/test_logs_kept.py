"""Which words are kept, what becomes of them on the way, and that no secret stays in them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from celery_app import LogContext, LogEvent, LogManager
from celery_app.celery import logs
from celery_app.client import Client
from celery_app.errors import ConfigurationError
from celery_app.log_lines import line_handler, plain
from celery_app.monitoring_settings import StoredLogs
from celery_app.observe.log_handler import StoreHandler
from celery_app.observe.processors import Sampling, UserProcessor, processors_of
from celery_app.records import EnrichedLogEvent
from celery_app.redaction import MARK
from tests.observe.kept import messages, of, said

pytestmark = pytest.mark.timeout(240)


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
