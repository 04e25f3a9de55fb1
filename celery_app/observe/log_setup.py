"""Logging of the processes of this system: lines as the settings say, ids on them, and what is kept.

Invariant: Celery's own options win: `-l` over the level of the settings, `-f` over their output.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import click
from celery import signals
from celery.utils.log import ColorFormatter
from click.core import ParameterSource
from structlog.contextvars import bind_contextvars, reset_contextvars

from celery_app.celery import logs, settings
from celery_app.log_lines import formatter, line_handler, use_structlog
from celery_app.observe.log_handler import StoreHandler
from celery_app.observe.log_manager import LogManager
from celery_app.redaction import guard_logs

__all__ = ["start_logging"]


def start_logging() -> None:
    """Log as the settings say in a process that is ours and not Celery's, such as the API's."""
    configured = settings.monitoring.logging
    guard_logs()
    use_structlog()
    root = logging.getLogger()
    root.setLevel(configured.level)
    root.addHandler(line_handler(configured.output, configured.format))
    root.addHandler(_store_handler())


@functools.cache
def _store_handler() -> StoreHandler:
    return StoreHandler(LogManager(), settings.monitoring.logging.store)


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def _dress(logger: logging.Logger, logfile: Any = None, **_: Any) -> None:
    """Let a logger that Celery has set up write our lines, and keep what is worth it."""
    configured = settings.monitoring.logging
    for handler in [each for each in logger.handlers if _is_of_celery(each)]:
        if logfile:
            handler.setFormatter(formatter(configured.format))
        else:
            logger.removeHandler(handler)
            logger.addHandler(line_handler(configured.output, configured.format))
    if not _is_given("loglevel"):
        logger.setLevel(configured.level)
    if _store_handler() not in logger.handlers:
        logger.addHandler(_store_handler())
    use_structlog()


def _is_of_celery(handler: logging.Handler) -> bool:
    # Somebody else's program, which runs a worker within, keeps its own.
    return isinstance(handler.formatter, ColorFormatter)


def _is_given(option: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is None or context.get_parameter_source(option) not in (
        ParameterSource.DEFAULT,
        None,
    )


@signals.task_prerun.connect
def _bind(task_id: str, task: Any, **_: Any) -> None:
    request = task.request
    trace_id = request.root_id or task_id
    request.log_context = bind_contextvars(task_id=task_id, trace_id=trace_id, task=task.name)


@signals.task_postrun.connect
def _unbind(task: Any, **_: Any) -> None:
    if (bound := getattr(task.request, "log_context", None)) is not None:
        reset_contextvars(**bound)


@signals.worker_process_shutdown.connect
def _keep_last_words(**_: Any) -> None:
    # A child of the pool ends without what is registered at exit.
    logs.close()
