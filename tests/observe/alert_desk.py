"""A desk for tests of alerts: rules of a test's own, and what they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from celery_app import LogContext, LogEvent, LogManager
from celery_app.celery import database, logs
from celery_app.observe.alert_rules import AlertFile
from celery_app.observe.alerts import Alerts
from celery_app.store.alert_look import Alert
from celery_app.store.alerts import AlertStore
from celery_app.store.notifications import NotificationStore

STORE = AlertStore(database)
OUTBOX = NotificationStore(database)


class Desk:
    """Rules of a test's own, and what they lead to.

    NAME, TO and LOGGER in a rule stand for a name, a notifier and a logger that no other
    test has: what another test logs is nothing to this one's rules.
    """

    def __init__(self, folder: Path, rules: str, notifiers: str = "{}") -> None:
        self.name = f"rule-{uuid4().hex[:8]}"
        self.to = f"to-{uuid4().hex[:8]}"
        self.logger = f"shop-{uuid4().hex[:8]}"
        text = f"notifiers: {notifiers}\nrules:\n{rules}"
        for word, own in (("NAME", self.name), ("TO", self.to), ("LOGGER", self.logger)):
            text = text.replace(word, own)
        file = folder / f"{self.name}.yaml"
        file.write_text(text)
        self.file = AlertFile.load(file)
        self.metrics: dict[str, float | None] = {}
        self.alerts = Alerts(STORE, self.file, self.metrics.get, lambda _: [])
        self.look()

    def say(
        self, message: str, level: Any = "ERROR", logger: str | None = None, **ids: str
    ) -> None:
        event = LogEvent(message=message, level=level, logger=logger or self.logger)
        LogManager().log(event, LogContext(**ids))

    def look(self) -> list[Alert]:
        """Look, and return all alerts of the rule, newest first."""
        assert logs.flush(30)
        assert self.alerts.look()
        return self.found()

    def found(self, rule: str | None = None) -> list[Alert]:
        return [each for each in STORE.newest(limit=500) if each.rule == (rule or self.name)]

    def told(self) -> list[dict[str, Any]]:
        """Return what the notifier was told or is to be told, oldest first."""
        rows = database.rows(
            "SELECT id, body FROM notification WHERE notifier = :to ORDER BY id", to=self.to
        )
        return [database.vault.unpack(row.body, "notification.body", row.id) for row in rows]

    def age(self, seconds: float) -> None:
        """Let what was found so far be older."""
        for table, column in (("alert", "last_at"), ("alert_hit", "at")):
            database.rows(
                f"UPDATE {table} SET {column} = {column} - make_interval(secs => :seconds) "
                "WHERE rule = :rule",
                seconds=seconds,
                rule=self.name,
            )
        database.rows(
            """
            UPDATE alert_rule SET since = since - make_interval(secs => :seconds),
                   met_at = met_at - make_interval(secs => :seconds),
                   hit_at = hit_at - make_interval(secs => :seconds) WHERE name = :rule
            """,
            seconds=seconds,
            rule=self.name,
        )


NOTIFY = "notify: [TO]"
HOOK = '{TO: {kind: webhook, url: "http://127.0.0.1:9/"}}'


def kinds(told: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in told]
