"""`AlertDesk`: what is firing, and what a person does about it."""

from __future__ import annotations

from typing import Any

from celery_app.celery import database, guard
from celery_app.errors import UnknownAlert
from celery_app.observe.jobs import alert_file, outbox
from celery_app.security.guard import Guard
from celery_app.store.alert_look import Alert
from celery_app.store.alerts import AlertStore
from celery_app.store.notifications import NotificationStore

__all__ = ["AlertDesk"]


class AlertDesk:
    """Shows alerts, ends and silences them.

    Args:
        permissions: Says whether whoever asks may; by default the user of this process.
    """

    def __init__(self, permissions: Guard | None = None) -> None:
        self._permissions = permissions or guard()
        self._store = AlertStore(database)

    def alerts(
        self, *, open_only: bool = True, limit: int = 50, before: int | None = None
    ) -> list[Alert]:
        """Return alerts, newest first; with `before` those that are older than the one of that number."""
        self._may_read()
        return self._store.newest(open_only=open_only, limit=limit, before=before)

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules in force."""
        self._may_read()
        return [rule.as_json() for rule in alert_file().rules]

    def resolve(self, number: int) -> None:
        """Close an alert; what makes it opens another one when it happens again.

        Raises:
            UnknownAlert: No alert of that number is firing.
        """
        self._may_change()
        if not self._store.resolve(number, self._permissions.name):
            raise UnknownAlert(
                f"no alert {number} is firing; `ai-agent alerts` shows those that are"
            )

    def silence(self, rule: str, seconds: float, about: str = "*") -> int:
        """Tell nobody of alerts of a rule for a time; return the silence's id.

        Args:
            rule: A pattern: `*` stands for any characters.
            seconds: For how long.
            about: A pattern of the group that the alert is about.
        """
        self._may_change()
        return self._store.silence(rule, about, seconds, self._permissions.name)

    def silences(self) -> list[dict[str, Any]]:
        """Return the silences in force."""
        self._may_read()
        return self._store.silences()

    def end_silence(self, number: int) -> None:
        """End a silence; who is still to be told is told then.

        Raises:
            UnknownAlert: There is none of that number.
        """
        self._may_change()
        if not self._store.end_silence(number):
            raise UnknownAlert(
                f"there is no silence {number}; `ai-agent alerts silences` shows those there are"
            )

    def told(self, limit: int = 50) -> list[dict[str, Any]]:
        """Return what notifiers were told or are to be told, newest first."""
        self._may_read()
        return NotificationStore(database).newest(limit)

    def try_notifier(self, name: str) -> None:
        """Let a notifier tell that it works.

        Raises:
            ConfigurationError: There is no such notifier, or it could not.
        """
        self._may_change()
        outbox().try_out(name)

    def _may_read(self) -> None:
        self._permissions.require("system.read", "system:alerts")

    def _may_change(self) -> None:
        self._permissions.require("system.change", "system:alerts")
