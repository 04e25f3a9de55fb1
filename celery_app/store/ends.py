"""What has ended, in the order of the journal, with everything that was noted of it.

Invariant: the order is that of (xact, id), and what is read of it is final: no event can still appear
before one that was returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from celery_app.postgres.connection import Database

__all__ = ["EndStore", "Ended", "ModelCall", "Moment", "Place", "ToolCall"]

_LOCK = 0x41474A52


@dataclass(frozen=True)
class Place:
    """A place in the journal: behind this event."""

    xact: int
    id: int = 0


@dataclass(frozen=True)
class Moment:
    """An event of a task."""

    at: datetime
    kind: str
    cause: str | None = None


@dataclass(frozen=True)
class ModelCall:
    """A recorded call of a model; `at` is when it was recorded, `reply` only there if asked for."""

    at: datetime
    seconds: float
    model: str
    host: str
    prompt_tokens: int
    generated_tokens: int
    attempt: int
    number: int
    reply: dict[str, Any] | None = None


@dataclass(frozen=True)
class ToolCall:
    """A recorded call of a tool."""

    at: datetime
    tool: str
    refused: bool
    attempt: int
    number: int


@dataclass
class Ended:
    """A task that has ended, or was just put back, and how that came."""

    id: str
    root_id: str
    parent_id: str | None
    name: str
    type: str
    agent: str | None
    queue: str
    step: str | None
    workflow: str | None
    state: str
    losses: int
    prompt_tokens: int
    generated_tokens: int
    created_at: datetime
    spec: bytes
    error: bytes | None
    moments: list[Moment] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    model_calls: list[ModelCall] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)


class EndStore:
    """Reads the journal.

    Args:
        database: Where it lies.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def reading(self, purpose: str, patience: float | None = None) -> Iterator[Place | None]:
        """Give the place up to which was read for a purpose, keeping every other reader for it out.

        Args:
            purpose: What is read for. The first time, reading begins with what happens from now on.
            patience: Seconds after which what nobody has read is passed over.

        Yields:
            The place, or None while somebody else is reading.
        """
        with self.database.session() as session:
            lock = {"lock": _LOCK, "purpose": purpose}
            taken = "SELECT pg_try_advisory_lock(:lock, hashtext(:purpose))"
            if not session.scalar(text(taken), lock):
                yield None
                return
            try:
                yield self._place(purpose, patience)
            finally:
                session.execute(text("SELECT pg_advisory_unlock(:lock, hashtext(:purpose))"), lock)

    def _place(self, purpose: str, patience: float | None) -> Place:
        row = self.database.row(
            """
            SELECT xact::text AS xact, id FROM journal_place
             WHERE purpose = :purpose
               AND (:patience IS NULL OR at > clock_timestamp() - make_interval(secs => :patience))
            """,
            purpose=purpose,
            patience=patience,
        )
        if row is not None:
            return Place(int(row.xact), row.id)
        first = self._final()
        self.note(purpose, first)
        return first

    def _final(self) -> Place:
        """Return the place before which everything has been committed."""
        row = self.database.row("SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xact")
        return Place(int(row.xact))

    def note(self, purpose: str, place: Place) -> None:
        """Note how far was read for a purpose."""
        self.database.rows(
            """
            INSERT INTO journal_place (purpose, xact, id) VALUES (:purpose, CAST(:xact AS xid8), :id)
            ON CONFLICT (purpose) DO UPDATE
               SET xact = excluded.xact, id = excluded.id, at = clock_timestamp()
            """,
            purpose=purpose,
            xact=str(place.xact),
            id=place.id,
        )

    def after(
        self, place: Place, kinds: Sequence[str], limit: int
    ) -> tuple[list[tuple[str, str]], Place]:
        """Return what happened next: (task, kind) in order, and the place behind it.

        Args:
            place: Where to go on.
            kinds: The kinds of events that are asked for.
            limit: The most events to return.
        """
        final = self._final()
        if place.xact > final.xact:
            # Another server with the same rows: its count of transactions began anew.
            return [], final
        rows = self.database.rows(
            """
            SELECT task_id, kind, xact::text AS xact, id FROM event
             WHERE (xact, id) > (CAST(:xact AS xid8), :id) AND xact < CAST(:final AS xid8)
               AND kind = ANY (:kinds)
             ORDER BY xact, id LIMIT :limit
            """,
            xact=str(place.xact),
            id=place.id,
            final=str(final.xact),
            kinds=list(kinds),
            limit=limit,
        )
        found = [(row.task_id, row.kind) for row in rows]
        if len(rows) == limit:
            return found, Place(int(rows[-1].xact), rows[-1].id)
        return found, final

    def tasks(self, ids: Iterable[str]) -> dict[str, Ended]:
        """Return tasks by id, with what happened to them."""
        wanted = list(dict.fromkeys(ids))
        rows = self.database.rows(
            """
            SELECT t.id, t.root_id, t.parent_id, t.name, t.type, t.agent, t.queue, t.step, r.workflow,
                   t.state, t.losses, t.prompt_tokens, t.generated_tokens, t.created_at, t.spec, t.error
              FROM task t LEFT JOIN run r ON r.id = t.id WHERE t.id = ANY (:ids)
            """,
            ids=wanted,
        )
        found = {row.id: Ended(**row._asdict()) for row in rows}
        for row in self._noted("SELECT task_id, at, kind, cause FROM event", "id", found):
            found[row.task_id].moments.append(Moment(row.at, row.kind, row.cause))
        return found

    def whole(self, ids: Iterable[str], *, replies: bool = False) -> dict[str, Ended]:
        """Return tasks by id with all that was noted of them; with `replies` also what models said."""
        found = self.tasks(ids)
        for row in self.database.rows(
            "SELECT body_id, task_id FROM edge WHERE body_id = ANY (:ids) ORDER BY position",
            ids=list(found),
        ):
            found[row.body_id].needed.append(row.task_id)
        self._add_calls(found, replies=replies)
        return found

    def _add_calls(self, found: dict[str, Ended], *, replies: bool) -> None:
        calls = f"""
            SELECT task_id, at, seconds, model, host, prompt_tokens, generated_tokens, try AS attempt, number,
                   {"reply" if replies else "NULL AS reply"} FROM model_call"""
        for row in self._noted(calls, "try, number", found):
            call = row._asdict()
            sealed = call.pop("reply")
            if replies:
                place = (row.task_id, row.attempt, row.number)
                call["reply"] = self.database.vault.unpack(sealed, "model_call.reply", *place)
            found[call.pop("task_id")].model_calls.append(ModelCall(**call))
        tools = "SELECT task_id, at, tool, refused, try AS attempt, number FROM tool_call"
        for row in self._noted(tools, "try, number", found):
            call = row._asdict()
            found[call.pop("task_id")].tool_calls.append(ToolCall(**call))

    def _noted(self, selected: str, order: str, found: Iterable[str]) -> Sequence[Any]:
        return self.database.rows(
            f"{selected} WHERE task_id = ANY (:ids) ORDER BY {order}", ids=list(found)
        )
