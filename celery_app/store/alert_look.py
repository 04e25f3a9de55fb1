"""One look at what may make alerts, within its transaction.

Invariant: for each group of a rule at most one alert is open, and what is new of it is written with how far
the look got.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from celery_app.security.vault import Vault
from celery_app.store.logs import StoredEvent, stored_event
from celery_app.store.notifications import write

__all__ = ["NOTE", "Alert", "AlertLook", "Hit", "RunEvent", "alerts_of"]

#: Events of the log that are read at once.
_BATCH = 2000


#: An event of a run, if there is such a run.
NOTE = """
INSERT INTO event (task_id, root_id, kind, cause)
SELECT coalesce((SELECT t.id FROM task t WHERE t.id = :task), r.id), r.id, :kind, :cause
  FROM task r WHERE r.id = :root AND r.root_id = r.id RETURNING 1
"""


@dataclass(frozen=True)
class Hit:
    """What a rule has found for one group: how often, when last, what to say of it, and within what."""

    about: str
    message: str
    count: int = 1
    at: datetime | None = None
    task_id: str | None = None
    root_id: str | None = None


@dataclass(frozen=True)
class Alert:
    """An alert as it stands."""

    id: int
    rule: str
    about: str
    severity: str
    message: str
    hits: int
    silenced: bool
    task_id: str | None
    root_id: str | None
    fired_at: datetime
    last_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None

    @property
    def is_open(self) -> bool:
        """Whether it has not been resolved."""
        return self.resolved_at is None

    def as_json(self) -> dict[str, Any]:
        """Return the public document of an alert."""
        return {
            "id": self.id,
            "rule": self.rule,
            "about": self.about,
            "severity": self.severity,
            "state": "firing" if self.is_open else "resolved",
            "message": self.message,
            "hits": self.hits,
            "silenced": self.silenced,
            "task_id": self.task_id,
            "run_id": self.root_id,
            "fired_at": self.fired_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "resolved_at": self.resolved_at.isoformat() if self.resolved_at else None,
            "resolved_by": self.resolved_by,
        }


def alerts_of(rows: Iterable[Any], vault: Vault) -> list[Alert]:
    """Return alerts as they stand in rows."""
    return [
        Alert(
            row.id,
            row.rule,
            row.about,
            row.severity,
            vault.unpack(row.body, "alert.body", row.id),
            row.hits,
            row.silenced,
            row.task_id,
            row.root_id,
            row.fired_at,
            row.last_at,
            row.resolved_at,
            row.resolved_by,
        )
        for row in rows
    ]


@dataclass(frozen=True)
class RunEvent:
    """Something that has happened to a run and may be worth telling."""

    kind: str
    task_id: str
    root_id: str
    digest: str | None
    workflow: str | None


class AlertLook:
    """One look, within its transaction.

    Args:
        connection: The transaction.
        vault: Opens what was said, and seals what is told.
    """

    def __init__(self, connection: Connection, vault: Vault) -> None:
        self._connection = connection
        self._vault = vault
        self.now: datetime = self._one("SELECT clock_timestamp() AS now").now

    def new_logs(self, level: str | None) -> Iterable[list[StoredEvent]]:
        """Yield what was said since the last look and is at least so bad, in batches; move on behind all."""
        row = self._one(
            """
            WITH newest AS (SELECT coalesce(max(id), 0) AS id FROM log),
                 before AS (SELECT log_id FROM alert_look)
            UPDATE alert_look SET log_id = greatest(newest.id, before.log_id), at = clock_timestamp()
              FROM newest, before RETURNING before.log_id AS since, newest.id AS until
            """
        )
        last = row.since
        while level is not None and (
            rows := self._all(
                f"""
                SELECT * FROM log WHERE id > :last AND id <= :until AND level >= :level
                 ORDER BY id LIMIT {_BATCH}
                """,
                last=last,
                until=row.until,
                level=logging.getLevelName(level),
            )
        ):
            last = rows[-1].id
            yield [stored_event(row, self._vault) for row in rows]

    def new_events(self) -> list[RunEvent]:
        """Return which runs have failed or are at risk since the last look, and move on."""
        rows = self._all(
            """
            WITH look AS (
                SELECT xact AS since, pg_snapshot_xmin(pg_current_snapshot()) AS until FROM alert_look
            ), moved AS (
                UPDATE alert_look SET xact = look.until, at = clock_timestamp() FROM look
            )
            SELECT e.kind, e.task_id, e.root_id, r.digest, r.workflow
              FROM look JOIN event e ON e.xact >= look.since AND e.xact < look.until
              LEFT JOIN run r ON r.id = e.task_id
             WHERE e.kind = 'at-risk' OR (e.kind = 'failed' AND r.id IS NOT NULL)
             ORDER BY e.id
            """
        )
        return [RunEvent(*row) for row in rows]

    def known(self, name: str, digest: str) -> Any:
        """Return what is known of a rule: `since`, `met_at`, `hit_at`; one that says something new is new."""
        return self._one(
            """
            INSERT INTO alert_rule AS r (name, digest) VALUES (:name, :digest)
            ON CONFLICT (name) DO UPDATE
               SET since = CASE WHEN r.digest = :digest THEN r.since ELSE clock_timestamp() END,
                   met_at = CASE WHEN r.digest = :digest THEN r.met_at END,
                   hit_at = CASE WHEN r.digest = :digest THEN r.hit_at END, digest = :digest
            RETURNING since, met_at, hit_at
            """,
            name=name,
            digest=digest,
        )

    def remember(self, name: str, *, met_at: datetime | None, hit_at: datetime | None) -> None:
        """Keep what is known of a rule."""
        self._all(
            "UPDATE alert_rule SET met_at = :met_at, hit_at = :hit_at WHERE name = :name RETURNING 1",
            name=name,
            met_at=met_at,
            hit_at=hit_at,
        )

    def count(self, rule: str, hits: Iterable[Hit], seconds: float) -> dict[str, int]:
        """Add what a rule has found; return how often that was within so many seconds, by group."""
        for hit in hits:
            self._all(
                "INSERT INTO alert_hit VALUES (:rule, :about, :at, :n) RETURNING 1",
                rule=rule,
                about=hit.about,
                at=hit.at,
                n=hit.count,
            )
        rows = self._all(
            """
            WITH gone AS (
                DELETE FROM alert_hit
                 WHERE rule = :rule AND at <= clock_timestamp() - make_interval(secs => :seconds)
            )
            SELECT about, sum(n) AS n FROM alert_hit
             WHERE rule = :rule AND at > clock_timestamp() - make_interval(secs => :seconds)
             GROUP BY about
            """,
            rule=rule,
            seconds=seconds,
        )
        return {row.about: int(row.n) for row in rows}

    def open(self, rule: str | None = None) -> list[Alert]:
        """Return the open alerts, of a rule or of all."""
        return alerts_of(
            self._all(
                """
                SELECT * FROM alert WHERE resolved_at IS NULL
                   AND (CAST(:rule AS text) IS NULL OR rule = :rule) ORDER BY id
                """,
                rule=rule,
            ),
            self._vault,
        )

    def by_ids(self, numbers: Iterable[int]) -> list[Alert]:
        """Return alerts by their ids."""
        rows = self._all("SELECT * FROM alert WHERE id = ANY (:ids) ORDER BY id", ids=list(numbers))
        return alerts_of(rows, self._vault)

    def fire(self, rule: str, severity: str, hit: Hit) -> None:
        """Open an alert for what was found, or add it to the one that is open; it is an event of its run."""
        found = self._all(
            """
            UPDATE alert SET hits = hits + :n, last_at = coalesce(:at, clock_timestamp())
             WHERE rule = :rule AND about = :about AND resolved_at IS NULL RETURNING 1
            """,
            n=hit.count,
            at=hit.at,
            rule=rule,
            about=hit.about,
        )
        if not found:
            self._open(rule, severity, hit)

    def _open(self, rule: str, severity: str, hit: Hit) -> None:
        number = self._one("SELECT nextval('alert_id') AS id").id
        self._all(
            """
            INSERT INTO alert (id, rule, about, severity, root_id, task_id, hits, silenced, body)
            VALUES (:id, :rule, :about, :severity, :root, :task, :n, true, :body) RETURNING 1
            """,
            id=number,
            rule=rule,
            about=hit.about,
            severity=severity,
            root=hit.root_id,
            task=hit.task_id,
            n=hit.count,
            body=self._vault.pack(hit.message, "alert.body", number),
        )
        self._note(hit.root_id, hit.task_id, "alerted", number)

    def resolve(self, alert: Alert) -> None:
        """Close an alert that is over by itself."""
        self._all(
            "UPDATE alert SET resolved_at = clock_timestamp() WHERE id = :id RETURNING 1",
            id=alert.id,
        )
        self._note(alert.root_id, alert.task_id, "alert-resolved", alert.id)

    def _note(self, root_id: str | None, task_id: str | None, kind: str, number: int) -> None:
        self._all(NOTE, root=root_id, task=task_id or root_id, kind=kind, cause=f"alert {number}")

    def at_risk(self, root_id: str) -> bool | None:
        """Tell whether something open in a run is at risk still; None where there are no such tasks."""
        row = self._one(
            """
            SELECT bool_or(risk IS NOT NULL
                           AND state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped')) AS so
              FROM task WHERE root_id = :root
            """,
            root=root_id,
        )
        return row.so if row.so is None else bool(row.so)

    def error_of(self, task_id: str) -> dict[str, Any]:
        """Return why a task failed."""
        row = self._one("SELECT error FROM task WHERE id = :id", id=task_id)
        return self._vault.unpack(row.error, "task.error", task_id) or {}

    def speak(self, alert: Alert) -> None:
        """Note that an alert is no longer one that nobody is told of."""
        self._all("UPDATE alert SET silenced = false WHERE id = :id RETURNING 1", id=alert.id)

    def silences(self) -> list[tuple[str, str]]:
        """Return what is silenced now: patterns of rules and of groups."""
        return [
            (row.rule, row.about)
            for row in self._all("SELECT rule, about FROM silence WHERE until > clock_timestamp()")
        ]

    def tell(self, notifier: str, subject: str, body: dict[str, Any]) -> None:
        """Put something into the outbox of a notifier."""
        write(self._connection, self._vault, notifier, subject, body)

    def _all(self, sql: str, **values: Any) -> Any:
        return self._connection.execute(text(sql), values).all()

    def _one(self, sql: str, **values: Any) -> Any:
        return self._connection.execute(text(sql), values).one()
