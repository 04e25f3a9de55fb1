"""`LogStore`: what was said, in a table.

Invariant: the order of ids is the order of commits, so whoever has read up to an id has missed nothing; the
order of one process is that of its numbers.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, text

from celery_app.errors import Unsealed, Unstorable
from celery_app.postgres.connection import Database, insert_rows
from celery_app.records import EnrichedLogEvent, LogContext, LogEvent
from celery_app.security.vault import Vault
from celery_app.store.log_writer import LogWriter

__all__ = ["CHANNEL", "LogFilter", "LogStore", "StoredEvent", "stored_event"]

#: Where is told that there are new rows.
CHANNEL = "log"
_LOCK = 0x41474C47
_COLUMNS = (
    "at", "level", "logger", "source", "number", "task_id", "trace_id", "agent_id", "body",
)  # fmt: skip
#: Seconds that somebody who reads waits for what this process has said itself.
_OWN_WORDS = 5.0
_EMPTY: dict[str, Any] = {"exception": None, "details": {}, "values": {}, "more": {}}


@dataclass(frozen=True)
class StoredEvent:
    """An event as it stands in the table: its id, who said it as the how manyth, and what."""

    id: int
    source: str
    number: int
    event: EnrichedLogEvent

    def as_json(self) -> dict[str, Any]:
        """Return the public document of an event."""
        said = self.event
        return {
            "id": self.id,
            "timestamp": said.timestamp.isoformat(),
            "level": said.event.level,
            "logger": said.event.logger,
            "message": said.event.message,
            "task_id": said.task_id,
            "trace_id": said.trace_id,
            "agent_id": said.agent_id,
            "details": said.event.details,
            "exception": said.event.exception,
            "context": said.additional_context,
            "source": self.source,
            "number": self.number,
        }


@dataclass(frozen=True)
class LogFilter:
    """Which events are wanted: of a task, a run, an agent, at least so bad, not before a moment."""

    task_id: str | None = None
    trace_id: str | None = None
    agent_id: str | None = None
    level: str = "DEBUG"
    since: datetime | None = None

    def fits(self, found: StoredEvent) -> bool:
        """Tell whether an event is one of them, as `conditions` do."""
        said = found.event
        ids = (
            (self.task_id, said.task_id),
            (self.trace_id, said.trace_id),
            (self.agent_id, said.agent_id),
        )
        return (
            logging.getLevelName(said.event.level) >= logging.getLevelName(self.level)
            and all(wanted in (None, known) for wanted, known in ids)
            and (self.since is None or said.timestamp >= self.since)
        )

    @property
    def conditions(self) -> tuple[str, dict[str, Any]]:
        """SQL, and the values in it."""
        given = {
            "task_id": ("task_id = :task_id", self.task_id),
            "trace_id": ("trace_id = :trace_id", self.trace_id),
            "agent_id": ("agent_id = :agent_id", self.agent_id),
            "since": ("at >= :since", self.since),
        }
        used = {name: pair for name, pair in given.items() if pair[1] is not None}
        values = {name: value for name, (_, value) in used.items()}
        parts = ["level >= :level", *(sql for sql, _ in used.values())]
        return " AND ".join(parts), {**values, "level": logging.getLevelName(self.level)}


@dataclass(frozen=True)
class _Said:
    number: int
    event: EnrichedLogEvent


class LogStore:
    """Keeps events and finds them.

    Args:
        database: Where they are kept.
        size: How many may wait in this process until they are written.
    """

    def __init__(self, database: Database, size: int = 20_000) -> None:
        self.database = database
        self._numbers = count(1)
        self._writer = LogWriter(self._write, self._lost, size)
        os.register_at_fork(after_in_child=self._introduce)
        self._introduce()

    def _introduce(self) -> None:
        self._numbers = count(1)
        self._source = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    @property
    def is_writing(self) -> bool:
        """Whether this is the thread that writes; what it says itself is not kept."""
        return self._writer.is_writing

    def store(self, event: EnrichedLogEvent) -> None:
        """Take an event in; it is written soon, by a thread, and at the end of the process at the latest."""
        self._writer.put(lambda: _Said(next(self._numbers), event))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that this process has said is written; return whether it is."""
        return self._writer.flush(timeout)

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self._writer.close()

    def find(
        self,
        wanted: LogFilter | None = None,
        *,
        limit: int = 100,
        after: int | None = None,
        before: int | None = None,
    ) -> list[StoredEvent]:
        """Return events in their order: the newest ones, the last before an id, or the next after one."""
        self.flush(_OWN_WORDS)
        conditions, values = (wanted or LogFilter()).conditions
        rows = self.database.rows(
            f"""
            SELECT * FROM log
             WHERE {conditions} AND id > :after AND (CAST(:before AS bigint) IS NULL OR id < :before)
             ORDER BY id {"DESC" if after is None else ""} LIMIT :limit
            """,
            **values,
            after=after or 0,
            before=before,
            limit=limit,
        )
        found = [stored_event(row, self.database.vault) for row in rows]
        return found[::-1] if after is None else found

    def newest_id(self) -> int:
        """Return the id of the newest event; 0 if there is none."""
        row = self.database.row("SELECT coalesce(max(id), 0) AS id FROM log")
        return int(row.id) if row else 0

    def prune(self, days: float) -> int:
        """Delete what was said more than so many days ago; return how many events that were."""
        rows = self.database.rows(
            """
            WITH gone AS (DELETE FROM log WHERE at < clock_timestamp() - make_interval(secs => :seconds)
                          RETURNING 1)
            SELECT count(*) AS n FROM gone
            """,
            seconds=days * 86400,
        )
        return int(rows[0].n)

    def _write(self, batch: Sequence[_Said]) -> None:
        rows = [self._row(said) for said in batch]

        def work(connection: Connection) -> None:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            insert_rows(connection, "log", _COLUMNS, rows, "(source, number) DO NOTHING")
            connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})

        self.database.impatient().transaction(work)

    def _row(self, said: _Said) -> tuple[Any, ...]:
        told = said.event
        body = {
            "message": told.event.message,
            "exception": told.event.exception,
            "details": told.event.details,
            "values": told.context.values,
            "more": told.additional_context,
        }
        ids = (_name(told.task_id), _name(told.trace_id), _name(told.agent_id))
        return (
            told.timestamp,
            logging.getLevelName(told.event.level),
            _name(told.event.logger),
            self._source,
            said.number,
            *ids,
            self._packed(body, said.number),
        )

    def _packed(self, body: dict[str, Any], number: int) -> bytes:
        place = ("log.body", self._source, number)
        try:
            return self.database.vault.pack(body, *place)
        except Unstorable as refused:
            # The others of its batch must not wait for it.
            message = f"{body['message']!r:.200} (without its details: {refused})"
            return self.database.vault.pack({**_EMPTY, "message": message}, *place)

    def _lost(self, number: int) -> _Said:
        message = f"{number} events of the log were lost while Postgres was away"
        event = LogEvent(message=message, level="ERROR", logger="celery_app.store.logs")
        return _Said(
            next(self._numbers),
            EnrichedLogEvent(timestamp=event.at, event=event, context=LogContext()),
        )


def stored_event(row: Any, vault: Vault) -> StoredEvent:
    """Return the event of a row."""
    ids = {"agent_id": row.agent_id, "task_id": row.task_id, "trace_id": row.trace_id}
    try:
        body = vault.unpack(row.body, "log.body", row.source, row.number)
    except Unsealed as refused:
        # One that was tampered with must not hide the others.
        body = {**_EMPTY, "message": f"cannot be shown: {refused}"}
    event = LogEvent(
        message=body["message"],
        level=logging.getLevelName(row.level),
        logger=row.logger,
        details=body["details"],
        exception=body["exception"],
        at=row.at,
    )
    enriched = EnrichedLogEvent(
        timestamp=row.at,
        event=event,
        context=LogContext(**ids, values=body["values"]),
        additional_context=body["more"],
        **ids,
    )
    return StoredEvent(row.id, row.source, row.number, enriched)


def _name(text: str | None) -> str | None:
    """Return a name as a column can hold it, which no odd character may keep from being stored."""
    return text and text.replace("\0", "").encode(errors="replace").decode()
