"""Chords that Postgres counts: native ones of Celery, and open ones whose parts may be anywhere.

Invariants
  * A part counts once for a chord, however often it arrives; one caller sees the chord complete.
  * A chord's body is published after the commit that completed it. Until it is marked done, the chord
    row is the outbox: `publish_overdue` finds it again, so a crash in between loses nothing.
  * A failed body is counted in the chord around it, so that no outer chord waits for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from celery import states
from celery.backends.base import _create_chord_error_with_cause
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, allow_join_result, result_from_tuple
from celery.utils.log import get_logger

logger = get_logger(__name__)


class Chords:
    """The chords of one result backend.

    Args:
        backend: A `PostgresBackend`: its database, its serialization, its app.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._database = backend.database

    def begin(self, chord_id: str, body: Any, header: GroupResult) -> None:
        """Store a chord whose parts will be counted as they return; again from the beginning."""
        self._database.rows(
            """
            WITH gone AS (DELETE FROM part WHERE chord_id = :id)
            INSERT INTO chord (id, body, header) VALUES (:id, :body, :header)
            ON CONFLICT (id) DO UPDATE SET body = excluded.body, header = excluded.header,
                size = NULL, extra = 0, done = 0, state = 'open', ready_at = NULL
            """,
            id=chord_id,
            body=self._backend.pack(body),
            header=self._backend.pack(header.as_tuple()),
        )

    def set_size(self, chord_id: str, size: int) -> None:
        """Say how many parts there are; publish the body if they are all back."""
        row = self._database.row(
            """
            INSERT INTO chord AS c (id, size) VALUES (:id, :size)
            ON CONFLICT (id) DO UPDATE
               SET size = :size,
                   state = CASE WHEN c.state = 'open' AND c.body IS NOT NULL
                                 AND c.done >= :size + c.extra THEN 'ready' ELSE c.state END,
                   ready_at = clock_timestamp()
            RETURNING state = 'ready'
            """,
            id=chord_id,
            size=size,
        )
        if row is not None and row[0]:
            self.publish([chord_id])

    def expect_one_more(self, chord_id: str) -> None:
        """Expect one part more than was said."""
        self._database.rows(
            "INSERT INTO chord AS c (id, extra) VALUES (:id, 1) "
            "ON CONFLICT (id) DO UPDATE SET extra = c.extra + 1",
            id=chord_id,
        )

    def open(self, body: Any, parts: Sequence[str], size: int | None) -> str:
        """Store a chord over tasks known by their ids; see `PostgresBackend.open_chord`."""
        app = self._backend.app
        chord_id = str(body.freeze().id)
        header = app.GroupResult(chord_id, [app.AsyncResult(part) for part in parts])
        rows = self._database.rows(
            "SELECT * FROM open_chord(:id, :size, :body, :header, :parts)",
            id=chord_id,
            size=len(parts) if size is None else size,
            body=self._backend.pack(body),
            header=self._backend.pack(header.as_tuple()),
            parts=list(parts),
        )
        self.publish(row[0] for row in rows)
        return chord_id

    def count(
        self, task_id: str, status: str, chord_id: str, position: int, value: dict[str, Any] | None
    ) -> None:
        """Count a returned part, keeping its value here if it is stored nowhere else."""
        self.publish(self._returned(task_id, status, chord_id, position, value))

    def publish_overdue(self, grace: float) -> int:
        """Publish bodies that have been ready for `grace` seconds; return how many."""
        rows = self._database.rows(
            """
            SELECT id FROM chord WHERE state = 'ready'
               AND ready_at < clock_timestamp() - make_interval(secs => :grace) LIMIT 1000
            """,
            grace=grace,
        )
        self.publish(row.id for row in rows)
        return len(rows)

    def publish(self, chord_ids: Iterable[str]) -> None:
        """Publish the bodies of ready chords, and of those that their failures complete."""
        ready = deque(chord_ids)
        while ready:
            chord_id = ready.popleft()
            row = self._database.row(
                "SELECT body, header FROM chord WHERE id = :id AND state = 'ready'", id=chord_id
            )
            if row is None:
                continue
            body = maybe_signature(self._backend.decode(bytes(row.body)), app=self._backend.app)
            header = result_from_tuple(self._backend.decode(bytes(row.header)), self._backend.app)
            try:
                values = self._join(chord_id, header)
            except ChordError as error:
                logger.info("Chord %s failed: %s", chord_id, error)
                ready.extend(self._fail_body(body, error))
            else:
                self._backend.app.amqp._retry_publish(body.delay, values)
            self._database.rows("UPDATE chord SET state = 'done' WHERE id = :id", id=chord_id)

    def _join(self, chord_id: str, header: GroupResult) -> Any:
        """Return the results of a header, nested as it is nested."""
        kept = self._database.rows(
            "SELECT task_id, value FROM part WHERE chord_id = :id AND value IS NOT NULL",
            id=chord_id,
        )
        metas = {
            row.task_id: self._backend.meta_from_decoded(self._backend.decode(bytes(row.value)))
            for row in kept
        }
        leaves = [leaf.id for leaf in _leaves(header) if leaf.id not in metas]
        metas.update({meta["task_id"]: meta for meta in self._backend.metas(leaves)})
        return _nested(header, metas)

    def _fail_body(self, body: Any, error: ChordError) -> list[str]:
        """Fail a body; return the chords around it that this completes."""
        with allow_join_result():
            self._backend.chord_error_from_stack(body, error)
        # A failed body is itself a part of the chord around it, which Celery does not count.
        options = body.options
        if not (options.get("chord") and options.get("group_id")):
            return []
        place = options.get("group_index") or 0
        return self._returned(body.id, states.FAILURE, options["group_id"], place, None)

    def _returned(
        self, task_id: str, status: str, chord_id: str, position: int, value: dict[str, Any] | None
    ) -> list[str]:
        rows = self._database.rows(
            "SELECT * FROM return_part(:id, :status, :chord, :position, :value)",
            id=task_id,
            status=status,
            chord=chord_id,
            position=position,
            value=None if value is None else self._backend.pack(value),
        )
        return [row[0] for row in rows]


def _leaves(result: Any) -> Iterator[Any]:
    children = getattr(result, "results", None)
    if children is None:
        yield result
    else:
        for child in children:
            yield from _leaves(child)


def _nested(result: Any, metas: dict[str, dict[str, Any]]) -> Any:
    children = getattr(result, "results", None)
    if children is not None:
        return [_nested(child, metas) for child in children]
    meta = metas.get(result.id, {"status": states.PENDING, "result": None})
    if meta["status"] in states.PROPAGATE_STATES:
        error = meta["result"]
        raise _create_chord_error_with_cause(f"Dependency {result.id} raised {error!r}", error)
    return meta["result"]
