"""`LogManager`: takes events, ties them to what is going on, and keeps them.

Invariant: to log never fails for want of a server; what is kept is written in the background.
"""

from __future__ import annotations

import threading
from typing import Any

from structlog.contextvars import get_contextvars

from celery_app.celery import logs, settings
from celery_app.log_lines import IDS
from celery_app.observe.processors import LogProcessor, processors_of
from celery_app.records import EnrichedLogEvent, LogContext, LogEvent
from celery_app.store.logs import LogStore

__all__ = ["LogManager"]


class LogManager:
    """The way of every event that is kept.

    Args:
        log_store: Keeps them; by default in the configured database.

    Attributes:
        log_store: The same.
        processors: What events go through: redaction, sampling, the user's own.

    Raises:
        ConfigurationError: A processor of the settings cannot be imported.
    """

    def __init__(self, log_store: LogStore | None = None) -> None:
        self.log_store: LogStore = log_store or logs
        self.processors: list[LogProcessor] = [*processors_of(settings.monitoring.logging.store)]

    async def log_event(self, event: LogEvent, context: LogContext) -> None:
        """Keep an event; see `log`."""
        self.log(event, context)

    def log(self, event: LogEvent, context: LogContext | None = None) -> None:
        """Keep an event, with the ids of what is going on where the context names none.

        Rules of alerts look at what is kept (config/alerts.yaml).
        """
        enriched: EnrichedLogEvent | None = self._enrich_event(event, context or LogContext())
        for processor in self.processors:
            if enriched is not None:
                enriched = processor.process(enriched)
        if enriched is not None:
            self.log_store.store(enriched)

    def _enrich_event(self, event: LogEvent, context: LogContext) -> EnrichedLogEvent:
        bound = get_contextvars()
        ids = {name: getattr(context, name) or bound.get(name) for name in IDS}
        return EnrichedLogEvent.model_construct(
            timestamp=event.at,
            event=event,
            context=context,
            additional_context=self._additional_context(context, bound),
            **ids,
        )

    def _additional_context(self, context: LogContext, bound: dict[str, Any]) -> dict[str, Any]:
        """Return what is bound besides the ids, what the context says, and the thread."""
        more = {name: value for name, value in bound.items() if name not in IDS}
        return {**more, **context.values, "thread": threading.current_thread().name}
