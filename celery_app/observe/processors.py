"""What an event of the log goes through before it is kept, one after the other.

Invariant: the first takes secrets out, so that no later one sees any.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import count
from typing import Any

from celery_app.errors import ConfigurationError
from celery_app.log_lines import plain
from celery_app.monitoring_settings import StoredLogs
from celery_app.records import EnrichedLogEvent
from celery_app.redaction import redacted

__all__ = ["LogProcessor", "Redaction", "Sampling", "UserProcessor", "processors_of"]

_WORTH_KEEPING = ("WARNING", "ERROR", "CRITICAL")
_PARTS = 10_000


class LogProcessor(ABC):
    """A step on the way of an event."""

    @abstractmethod
    def process(self, event: EnrichedLogEvent) -> EnrichedLogEvent | None:
        """Return the event, changed or not; None lets nobody keep it."""


class Redaction(LogProcessor):
    """Replaces every secret in an event, and makes its values such as JSON can hold."""

    def process(self, event: EnrichedLogEvent) -> EnrichedLogEvent:
        """Return the event without secrets."""
        said, context = event.event, event.context
        told = said.model_copy(
            update={
                "message": redacted(said.message),
                "details": plain(said.details),
                "exception": redacted(said.exception) if said.exception else None,
            }
        )
        return event.model_copy(
            update={
                "event": told,
                "context": context.model_copy(update={"values": plain(context.values)}),
                "additional_context": plain(event.additional_context),
            }
        )


class Sampling(LogProcessor):
    """Keeps a fraction of what loggers say below WARNING: of a run everything or nothing.

    Args:
        fractions: By logger; one that is not named goes with the nearest above it.
    """

    def __init__(self, fractions: Mapping[str, float]) -> None:
        self._fractions = fractions
        self._numbers = count()

    def process(self, event: EnrichedLogEvent) -> EnrichedLogEvent | None:
        """Return the event, or None."""
        fraction = self._fraction(event.event.logger)
        if fraction >= 1 or event.event.level in _WORTH_KEEPING:
            return event
        of = event.trace_id or event.task_id or str(next(self._numbers))
        return (
            event if zlib.crc32(of.encode(errors="replace")) % _PARTS < fraction * _PARTS else None
        )

    def _fraction(self, logger: str) -> float:
        while logger and logger not in self._fractions:
            logger = logger.rpartition(".")[0]
        return self._fractions.get(logger, 1.0)


class UserProcessor(LogProcessor):
    """A function of the user's own, which is given the event and returns it, another one, or None.

    Args:
        name: Its dotted name.

    Raises:
        ConfigurationError: There is no such function.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._call = _imported(name)

    def __repr__(self) -> str:
        return f"UserProcessor({self._name!r})"

    def process(self, event: EnrichedLogEvent) -> EnrichedLogEvent | None:
        """Return what the function returns; if it fails, the event with the reason."""
        try:
            return self._call(event)
        except Exception as error:
            details = {**event.event.details, "processor_failed": f"{self._name}: {error}"}
            told = event.event.model_copy(update={"details": plain(details)})
            return event.model_copy(update={"event": told})


def _imported(name: str) -> Callable[[EnrichedLogEvent], EnrichedLogEvent | None]:
    module, _, attribute = name.rpartition(".")
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"monitoring.logging.store.processors: {name!r} cannot be imported ({error}); "
            "write the dotted name of a function, and see PYTHONPATH"
        ) from error
    if isinstance(found, type) and issubclass(found, LogProcessor):
        return found().process
    if not callable(found):
        raise ConfigurationError(f"monitoring.logging.store.processors: {name!r} is no function")
    return found  # type: ignore[no-any-return]


def processors_of(configured: StoredLogs) -> Sequence[LogProcessor]:
    """Return the processors as the settings say. Raises `ConfigurationError`."""
    own = [UserProcessor(name) for name in configured.processors]
    sampling = [Sampling(configured.sample)] if configured.sample else []
    return [Redaction(), *sampling, *own]
