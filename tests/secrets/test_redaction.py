"""Words without secrets: known ones however they are quoted, and what looks like one."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.logging import AccessFormatter

from celery_app import redaction
from celery_app.redaction import MARK, Address, guard_logs, keep_secret, redacted, redacted_values


class _Pair(NamedTuple):
    first: str
    second: int


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_known", set())
    monkeypatch.setattr(redaction, "_pattern", None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=8), st.text(), st.text())
def test_a_known_secret_is_nowhere_however_it_is_quoted(
    secret: str, before: str, after: str
) -> None:
    keep_secret(secret)
    for form in (secret, quote(secret, safe=""), repr(secret)[1:-1], json.dumps(secret)[1:-1]):
        assert form not in redacted(f"{before}{form}{after}").replace(MARK, "")


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("redis://:s3cret@host:6379/0", "redis://:[redacted]@host:6379/0"),
        ("postgresql+psycopg2://u:p%40ss@h/db", "postgresql+psycopg2://u:[redacted]@h/db"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [redacted]"),
        ('{"authorization": "Basic dTpw"}', '{"authorization": "Basic [redacted]"}'),
        ("bearer abcdefgh12", "bearer [redacted]"),
        ("token aiat_Ab12_cd34-ef", "token [redacted]"),
        ("host=h password=hunter2 user=u", "host=h password=[redacted] user=u"),
        ("{'password': 'hunter2', 'a': 1}", "{'password': '[redacted]', 'a': 1}"),
        ("api_key=abc&x=1", "api_key=[redacted]&x=1"),
        ("passwd: abc", "passwd: [redacted]"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, without: str) -> None:
    assert redacted(text) == without
    assert redacted(without) == without


@pytest.mark.parametrize(
    "text",
    [
        "of 2000 tokens, 1810 are used",
        "password_file /etc/x cannot be read: write the password into it",
        "http://host:11434/api",
        "redis://host:6379/0",
        "2026-01-01 10:00:00 step: done",
        "task a1b2 (token bucket) 10/s",
        "https://user@host/path:5@x",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert redacted(text) == text


def test_short_secrets_cut_no_words() -> None:
    keep_secret("a", "", None)
    assert redacted("a cat") == "a cat"


def test_plain_data_keeps_its_shape() -> None:
    keep_secret("hunter2!")
    pair = _Pair("hunter2!", 2)
    given = {"a": ["x hunter2!", pair], "b": 1, "c": None}
    assert redacted_values(given) == {"a": [f"x {MARK}", (MARK, 2)], "b": 1, "c": None}


def test_an_address_shows_no_password_and_works() -> None:
    address = Address("redis://:hunter2@h/0")
    assert "hunter2" not in f"{address!r} {[address]} { ({'url': address}) }"
    assert str(address) == "redis://:hunter2@h/0"


def test_no_record_holds_one_whoever_writes_it() -> None:
    keep_secret("hunter2!")
    guard_logs()
    logger, written = logging.getLogger("secrets.test"), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(message)s %(args)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    try:
        logger.warning("plain hunter2!")
        logger.warning("%s and %r", "hunter2!", ValueError("hunter2!"))
        logger.warning("%(a)s", {"a": "hunter2!"})
        try:
            int("hunter2!")
        except ValueError:
            logger.exception("it failed", stack_info=True)
    finally:
        logger.removeHandler(handler)
    assert "hunter2!" not in written.getvalue()
    assert written.getvalue().count(MARK) >= 5


def test_a_formatter_may_read_the_arguments_of_a_record() -> None:
    """As that of uvicorn's access log does, whose third argument is a path with its query."""
    keep_secret("hunter2!")
    guard_logs()
    record = logging.getLogRecordFactory()(
        "uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:5", "GET", "/tasks?key=hunter2!", "1.1", 200), None,
    )  # fmt: skip
    told = AccessFormatter('%(client_addr)s "%(request_line)s" %(status_code)s', use_colors=False)
    assert told.format(record) == f'127.0.0.1:5 "GET /tasks?key={MARK} HTTP/1.1" 200 OK'


def test_a_process_that_ends_with_a_traceback_tells_none() -> None:
    code = (
        "import threading; from celery_app.redaction import *; guard_logs(); keep_secret('hunter2!')\n"
        "thread = threading.Thread(target=int, args=('hunter2!',)); thread.start(); thread.join()\n"
        "int('hunter2!')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("invalid literal for int()") == 2
    # Python repeats the line of the program, which is none of its words.
    told = [line for line in done.stderr.splitlines() if "invalid literal" in line]
    assert all(MARK in line and "hunter2" not in line for line in told)
