"""Lines of logs: one JSON object each, or for a person to read, with the ids of what is going on.

Ids (`task_id`, `trace_id`, `agent_id`) and whatever else is bound with `structlog.contextvars` stand on
every line of the code that runs within. Both kinds of loggers write the same lines: those of the standard
library, and `structlog.get_logger()`.

Invariant: no secret that is known to `redaction` stands on a line, and none under a key that is named like
one.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any, Literal

import structlog
from structlog.contextvars import get_contextvars
from structlog.dev import ConsoleRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict

from celery_app.redaction import MARK, redacted

__all__ = [
    "IDS",
    "Style",
    "bound_of",
    "details_of",
    "exception_of",
    "formatter",
    "line_handler",
    "message_of",
    "plain",
    "use_structlog",
]

Style = Literal["json", "console"]

#: What ties a line to the work that it is about.
IDS = ("task_id", "trace_id", "agent_id")
_DEEPEST = 6
#: What a record has besides what somebody gave it as `extra`. Celery's `data` has arguments of tasks.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "data", "color_message", "_logger", "_name", "_from_structlog",
}  # fmt: skip
_encode = json.JSONEncoder(ensure_ascii=False).encode
#: Keys that structlog uses itself.
_META = {"event", "exception", "exc_info", "stack_info", "_record", "_from_structlog"}


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON can hold it, with every secret in it replaced."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(key): _under(str(key), inner, depth) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(inner, depth + 1) for inner in value]
    return redacted(str(value))


def _under(key: str, value: Any, depth: int) -> Any:
    """Return a value as it may stand under a key, which alone may say that it is a secret."""
    return MARK if _names_a_secret(key) else plain(value, depth + 1)


@functools.lru_cache(maxsize=1024)
def _names_a_secret(key: str) -> bool:
    return MARK in redacted(f"{key}=0")


def message_of(record: logging.LogRecord) -> str:
    """Return what a record says."""
    # A record of structlog carries its values.
    if isinstance(record.msg, dict):
        return redacted(str(record.msg.get("event", "")))
    return redacted(record.getMessage())


def exception_of(record: logging.LogRecord) -> str | None:
    """Return the traceback of a record, without secrets."""
    if isinstance(record.msg, dict):
        told = record.msg.get("exception")
        return None if told is None else redacted(str(told))
    if record.exc_text:
        return redacted(record.exc_text)
    if record.exc_info and record.exc_info[0] is not None:
        return redacted("".join(traceback.format_exception(*record.exc_info))).rstrip("\n")
    return None


def details_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what was given to a record besides its message, as plain values."""
    given = {key: value for key, value in vars(record).items() if key not in _OWN}
    if isinstance(record.msg, dict):
        given |= {key: value for key, value in record.msg.items() if key not in _META}
    found: dict[str, Any] = plain(given) if given else given
    return found


def bound_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is bound where a record was made; Celery's own lines name their task themselves."""
    bound = get_contextvars()
    if "task_id" not in bound:
        told = getattr(record, "data", None) or record.args
        if isinstance(told, Mapping) and isinstance(told.get("id"), str):
            return {**bound, "task_id": told["id"]}
    return bound


def _bound(record: logging.LogRecord) -> dict[str, Any]:
    return {
        key: value if key in IDS and isinstance(value, str) else _under(key, value, 0)
        for key, value in bound_of(record).items()
    }


def _composed(record: logging.LogRecord) -> EventDict:
    line: EventDict = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": message_of(record),
        **_bound(record),
        **details_of(record),
        "process": record.process,
    }
    if (exception := exception_of(record)) is not None:
        line["exception"] = exception
    return line


class _JsonLine(logging.Formatter):
    """One JSON object of each record, those of structlog too."""

    def format(self, record: logging.LogRecord) -> str:
        return _encode(_composed(record))


class _ConsoleLine(logging.Formatter):
    """A line for people of each record."""

    def __init__(self, colours: bool) -> None:
        super().__init__()
        self._render = ConsoleRenderer(colors=colours)

    def format(self, record: logging.LogRecord) -> str:
        return self._render(None, record.name, _composed(record))


def formatter(style: Style, *, colours: bool = False) -> logging.Formatter:
    """Return what makes a line of a record.

    Args:
        style: One JSON object a line, or `console` for people.
        colours: Whether a terminal shows them.
    """
    return _JsonLine() if style == "json" else _ConsoleLine(colours)


def line_handler(output: str, style: Style) -> logging.Handler:
    """Return what writes lines to `stdout`, `stderr`, or the file of a name."""
    stream = {"stdout": sys.__stdout__, "stderr": sys.__stderr__}.get(output)
    handler: logging.Handler = (
        logging.StreamHandler(stream)
        if stream is not None
        else WatchedFileHandler(output, encoding="utf-8", errors="backslashreplace")
    )
    handler.setFormatter(formatter(style, colours=stream is not None and stream.isatty()))
    return handler


def use_structlog() -> None:
    """Let `structlog.get_logger()` of this process go the way of all other loggers."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
