"""Samples of all metrics: one for each interval, and of what is older one for each hour.

Invariants
  * An interval has one sample, however many processes take them: the first one stays.
  * The sample of an hour is written by the statement that deletes the samples that it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu.utils.json import dumps
from sqlalchemy import text

from celery_app.postgres.connection import Database

__all__ = ["MetricsStore", "Sample"]

_LOCK = 0x41474D54


@dataclass(frozen=True)
class Sample:
    """What was measured in the interval or the hour that began at `slot`."""

    slot: datetime
    body: dict[str, Any]


class MetricsStore:
    """Keeps samples.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Tell whether the caller is the only one that takes samples, which holds for the block."""
        with self.database.session() as session:
            mine = bool(session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}))
            try:
                yield mine
            finally:
                if mine:
                    session.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})

    def open_slot(self, seconds: float) -> datetime | None:
        """Return when the present interval of so many seconds began; None if it has its sample."""
        row = self.database.row(
            """
            SELECT at FROM (
                SELECT to_timestamp(floor(extract(epoch FROM now())::double precision / :seconds) * :seconds)
            ) AS slot (at)
             WHERE NOT EXISTS (SELECT FROM metric_sample s WHERE s.span = 'interval' AND s.slot = slot.at)
            """,
            seconds=float(seconds),
        )
        return None if row is None else row.at

    def keep(self, slot: datetime, body: dict[str, Any]) -> bool:
        """Keep the sample of an interval; tell whether it was the first."""
        row = self.database.row(
            """
            INSERT INTO metric_sample (span, slot, body)
            VALUES ('interval', :slot, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING RETURNING slot
            """,
            slot=slot,
            body=dumps(body),
        )
        return row is not None

    def history(self, since: datetime) -> list[Sample]:
        """Return the samples of what began at or after a moment, oldest first."""
        rows = self.database.rows(
            "SELECT slot, body FROM metric_sample WHERE slot >= :since ORDER BY slot", since=since
        )
        return [Sample(row.slot, row.body) for row in rows]

    def full_hours(self, age_hours: float) -> list[list[Sample]]:
        """Return the samples of whole hours that ended so long ago, by the hour."""
        rows = self.database.rows(
            """
            SELECT date_trunc('hour', slot, 'UTC') AS hour, slot, body FROM metric_sample
             WHERE span = 'interval'
               AND slot < date_trunc('hour', now() - make_interval(hours => 1) * :age, 'UTC')
             ORDER BY slot
            """,
            age=age_hours,
        )
        hours: dict[datetime, list[Sample]] = {}
        for row in rows:
            hours.setdefault(row.hour, []).append(Sample(row.slot, row.body))
        return list(hours.values())

    def roll_up(self, samples: Sequence[Sample], body: dict[str, Any]) -> None:
        """Put one sample in the place of those of an hour."""
        self.database.rows(
            """
            WITH gone AS (
                DELETE FROM metric_sample WHERE span = 'interval' AND slot = ANY (:slots) RETURNING slot
            )
            INSERT INTO metric_sample (span, slot, body)
            SELECT 'hour', date_trunc('hour', min(slot), 'UTC'), CAST(:body AS jsonb) FROM gone
            HAVING count(*) > 0 ON CONFLICT DO NOTHING
            """,
            slots=[sample.slot for sample in samples],
            body=dumps(body),
        )

    def prune(self, days: float) -> None:
        """Delete what is older than so many days."""
        self.database.rows(
            "DELETE FROM metric_sample WHERE slot < now() - make_interval(secs => :seconds)",
            seconds=days * 86400.0,
        )
