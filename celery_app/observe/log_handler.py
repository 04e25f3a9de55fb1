"""What loggers say, kept: the handler of the standard library in front of `LogManager`.

Invariant: what is said while something is kept is not kept itself, so no event makes another.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any

from celery_app.log_lines import IDS, bound_of, details_of, exception_of, message_of
from celery_app.monitoring_settings import StoredLogs
from celery_app.observe.log_manager import LogManager
from celery_app.records import LogContext, LogEvent, LogLevel

__all__ = ["StoreHandler"]

#: Our own loggers; and those that say within tasks what is not about them.
_OURS = ("celery_app", "agents", "workflows")
_LIBRARIES = ("celery", "kombu", "amqp", "billiard", "redis", "sqlalchemy", "httpx", "httpcore")
_LEVELS: dict[int, LogLevel] = {
    10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL",
}  # fmt: skip
_NEVER = 1000


class StoreHandler(logging.Handler):
    """Keeps records that are bad enough.

    Args:
        manager: Takes them.
        configured: How bad that is.
    """

    def __init__(self, manager: LogManager, configured: StoredLogs) -> None:
        self._own = _number(configured.level)
        self._others = _number(configured.others)
        super().__init__(min(self._own, self._others))
        self._manager = manager
        self._busy = threading.local()

    def createLock(self) -> None:  # noqa: N802 - logging's own name
        """Have no lock: what is behind this has one, and whoever waits there must not hold up others."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if getattr(self._busy, "now", False) or self._manager.log_store.is_writing:
            return
        if record.levelno < self._others and _is_of_library(record.name):
            return
        bound = bound_of(record)
        if record.levelno < (self._own if _is_own(record.name, bound) else self._others):
            return
        self._busy.now = True
        try:
            self._manager.log(_event(record), _context(bound))
        except Exception:
            self.handleError(record)
        finally:
            self._busy.now = False


def _number(level: str) -> int:
    return _NEVER if level == "OFF" else int(logging.getLevelName(level))


def _is_of_library(logger: str) -> bool:
    return logger.partition(".")[0] in _LIBRARIES


def _is_own(logger: str, bound: dict[str, Any]) -> bool:
    own = logger.partition(".")[0] in _OURS
    return own or ("task_id" in bound and not _is_of_library(logger))


def _event(record: logging.LogRecord) -> LogEvent:
    # What loggers gave is as it must be already: to check it would take as long as all the rest.
    return LogEvent.model_construct(
        message=message_of(record),
        level=_LEVELS[min(50, max(10, record.levelno // 10 * 10))],
        logger=record.name,
        details=details_of(record),
        exception=exception_of(record),
        at=datetime.fromtimestamp(record.created, UTC),
    )


def _context(bound: dict[str, Any]) -> LogContext:
    ids: dict[str, Any] = {name: str(bound[name]) for name in IDS if bound.get(name)}
    return LogContext(**ids)
