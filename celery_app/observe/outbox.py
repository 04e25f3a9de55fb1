"""Sending what stands in the outbox of the notifiers.

Invariant: a notifier that does not take something keeps nobody from anything: it is tried again later,
after longer and longer pauses, and in between the others are served.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from celery_app.errors import ConfigurationError
from celery_app.observe.alert_rules import ALERTS_LOGGER, Notifier
from celery_app.observe.notifiers import send
from celery_app.redaction import redacted
from celery_app.store.notifications import Notification, NotificationStore

__all__ = ["Outbox"]

logger = logging.getLogger(ALERTS_LOGGER)

#: What could not be sent for so long is given up.
_PATIENCE = timedelta(days=1)
_LONGEST_PAUSE = 3600.0


class Outbox:
    """Serves the notifiers one after the other.

    Args:
        store: What is to be sent.
        notifiers: How, by name.
        pause: Seconds before the second try; each further one waits twice as long, an hour at most.
    """

    def __init__(
        self, store: NotificationStore, notifiers: Mapping[str, Notifier], pause: float = 5.0
    ) -> None:
        self._store = store
        self._notifiers = notifiers
        self._pause = pause

    def deliver(self) -> int:
        """Send what is due; return how much was sent."""
        return sum(self._serve(name) for name in self._store.due())

    def try_out(self, name: str) -> None:
        """Let a notifier tell, now, that it works.

        Raises:
            ConfigurationError: There is no such notifier, or it could not.
        """
        if name not in self._notifiers:
            known = ", ".join(sorted(self._notifiers))
            raise ConfigurationError(f"there is no notifier {name!r}: known are {known}")
        now = datetime.now(UTC).isoformat()
        alert = {"id": 0, "about": "", "message": "this notifier works", "hits": 1, "fired_at": now}
        body = {
            "kind": "test",
            "system": "ai-agent-system",
            "rule": "test",
            "severity": "info",
            "at": now,
            "alerts": [{**alert, "run_id": None, "task_id": None}],
        }
        try:
            send(self._notifiers[name], 0, body)
        except Exception as error:
            raise ConfigurationError(
                f"notifier {name} could not tell: {type(error).__name__}: {error}"
            ) from error

    def _serve(self, name: str) -> int:
        sent = 0
        while (taken := self._store.take(name)) is not None:
            if not self._try(taken):
                # Whoever does not answer now would not answer to the next one either.
                self._store.put_off(name, self._pause)
                return sent
            sent += 1
        return sent

    def _try(self, taken: Notification) -> bool:
        try:
            send(self._notifiers[taken.notifier], taken.id, taken.body)
        except KeyError:
            self._put_back(taken, f"there is no notifier {taken.notifier!r} in alerts.yaml")
            return False
        except Exception as error:
            # Whatever it was: of a server that is somebody else's.
            self._put_back(taken, f"{type(error).__name__}: {error}")
            return False
        self._store.sent(taken.id)
        return True

    def _put_back(self, taken: Notification, why: str) -> None:
        old = datetime.now(UTC) - taken.made_at > _PATIENCE
        pause = None if old else min(_LONGEST_PAUSE, self._pause * 2 ** min(taken.tries - 1, 20))
        self._store.failed(taken.id, why, pause)
        later = "it is given up" if pause is None else f"it is tried again in {pause:g} s"
        logger.warning("%s could not be told of %s (%s); %s",
                       taken.notifier, taken.subject, redacted(why), later)  # fmt: skip
