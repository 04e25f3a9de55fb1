"""Chords that Postgres counts: native ones of Celery, and open ones whose parts may be anywhere.

Invariants
  * A part counts once for a chord, however often it arrives; one caller sees the chord complete.
  * The statement that completes a chord brings back its body and all results. The body is published
    after that commit. Until it is marked done, the chord row is the outbox: `publish_overdue` finds
    it again, so a crash in between loses nothing.
  * A failed body is counted in the chord around it, so that no outer chord waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

from celery import states
from celery.backends.base import _create_chord_error_with_cause
from celery.canvas import _regen, maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult, allow_join_result, result_from_tuple
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from celery_app.crash_points import crash_point

logger = get_logger(__name__)

#: When the body of an open chord is called: if all parts succeeded, if any did not, or in any case.
RunOn = Literal["success", "failure", "always"]


@dataclass
class ReadyChord:
    """A chord whose parts are all back.

    Attributes:
        id: Its id.
        body: The signature to call, as Celery's plain dict.
        header: How the results are nested; None where they are one flat list.
        run_on: When the body is called.
        metas: Result metadata of the parts by task id, in their order.
    """

    id: str
    body: dict[str, Any]
    header: Any
    run_on: RunOn
    metas: dict[str, dict[str, Any]]


class Chords:
    """The chords of one result backend.

    Args:
        backend: A `PostgresBackend`: its database, its serialization, its app.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._database = backend.database

    def begin(self, chord_id: str, body: Any, header: Any) -> None:
        """Store a chord whose parts will be counted as they return; again from the beginning.

        Args:
            chord_id: The id of the header's group.
            body: The signature to call with the results.
            header: The header's results: a list, or Celery's generator of tasks not made yet.
        """
        self._database.rows(
            """
            WITH gone AS (DELETE FROM part WHERE chord_id = :id)
            INSERT INTO chord (id, body, body_id, header) VALUES (:id, :body, :body_id, :header)
            ON CONFLICT (id) DO UPDATE SET body = excluded.body, body_id = excluded.body_id,
                header = excluded.header, size = NULL, extra = 0, done = 0, state = 'open',
                ready_at = NULL
            """,
            id=chord_id,
            body=self._backend.pack(body, "chord.body", chord_id),
            body_id=body.id,
            header=self._nesting(chord_id, header),
        )

    def set_size(self, chord_id: str, size: int) -> None:
        """Say how many parts there are; publish the body if they are all back."""
        self.publish(
            self._database.rows("SELECT * FROM set_chord_size(:id, :size)", id=chord_id, size=size)
        )

    def expect_one_more(self, chord_id: str) -> None:
        """Expect one part more than was said."""
        self._database.rows(
            "INSERT INTO chord AS c (id, extra) VALUES (:id, 1) "
            "ON CONFLICT (id) DO UPDATE SET extra = c.extra + 1",
            id=chord_id,
        )

    def open(self, body: Any, parts: Sequence[str], size: int | None, run_on: RunOn) -> str:
        """Store a chord over tasks known by their ids; see `PostgresBackend.open_chord`."""
        chord_id = str(body.freeze().id)
        self.publish(
            self._database.rows(
                "SELECT * FROM open_chord(:id, :size, :body, :run_on, :parts)",
                id=chord_id,
                size=size,
                body=self._backend.pack(body, "chord.body", chord_id),
                run_on=run_on,
                parts=list(parts),
            )
        )
        return chord_id

    def extend(self, chord_id: str, parts: Sequence[str]) -> bool:
        """Add parts to an open chord; tell whether it still was open."""
        rows = self._database.rows(
            "SELECT * FROM extend_chord(:id, :parts)", id=chord_id, parts=list(parts)
        )
        return bool(rows)

    def close(self, chord_id: str) -> None:
        """Say that a chord has all its parts; publish the body if they are all back."""
        self.publish(self._database.rows("SELECT * FROM close_chord(:id)", id=chord_id))

    def count(
        self, task_id: str, status: str, chord_id: str, position: int, value: dict[str, Any] | None
    ) -> None:
        """Count a returned part, keeping its value here if it is stored nowhere else."""
        self.publish(self._returned(task_id, status, chord_id, position, value))

    def publish_overdue(self, grace: float) -> int:
        """Publish bodies that have been ready for `grace` seconds; return how many."""
        rows = self._database.rows("SELECT * FROM overdue_chords(:grace)", grace=grace)
        self.publish(rows)
        return len(rows)

    def publish(self, rows: Sequence[Any]) -> None:
        """Publish the bodies of ready chords, and of those that their failures complete.

        Args:
            rows: Rows of the type ``chord_row`` in schema/0004_open_chords.sql.
        """
        while rows:
            sent: list[str] = []
            completed: list[Any] = []
            for chord in map(self._ready, rows):
                crash_point("chord-ready")
                try:
                    completed.extend(self._end(chord))
                except OperationalError as away:
                    logger.warning("Body of chord %s is ready but not sent yet: %s", chord.id, away)
                else:
                    sent.append(chord.id)
            crash_point("chord-sent")
            if sent:
                self._database.rows("SELECT mark_chords_done(:ids)", ids=sent)
            rows = completed

    def _ready(self, row: Any) -> ReadyChord:
        unpack = self._backend.unpack
        body = unpack(row.body, "chord.body", row.chord_id)
        header = None if row.header is None else unpack(row.header, "chord.header", row.chord_id)
        metas = {} if row.task_ids is None else self._part_metas(row)
        return ReadyChord(row.chord_id, body, header, row.run_on, metas)

    def _part_metas(self, row: Any) -> dict[str, dict[str, Any]]:
        metas = {
            task_id: {"status": status}
            for task_id, status in zip(row.task_ids, row.statuses, strict=True)
        }
        together = bytes(row.values)
        places = pairwise(accumulate(row.lengths, initial=0))
        kept = {
            task_id: together[start:end]
            for task_id, (start, end) in zip(row.task_ids, places, strict=True)
            if end > start
        }
        metas.update(zip(kept, self._backend.decode_all(list(kept.items())), strict=True))
        return metas

    def _end(self, chord: ReadyChord) -> Sequence[Any]:
        """Call a chord's body, fail it or skip it; return what that completes."""
        body = maybe_signature(chord.body, app=self._backend.app)
        failed = [
            part for part, meta in chord.metas.items() if meta["status"] in states.PROPAGATE_STATES
        ]
        if chord.run_on == "success":
            try:
                values = self._results(chord)
            except ChordError as error:
                logger.info("Chord %s failed: %s", chord.id, error)
                with allow_join_result():
                    self._backend.chord_error_from_stack(body, error)
                return self._count_body(body, states.FAILURE)
        elif chord.run_on == "failure" and not failed:
            self._backend.mark_as_revoked(body.id, "no part of its chord failed")
            return self._count_body(body, states.REVOKED)
        else:
            values = [self._told(meta) for meta in chord.metas.values()]
        self._backend.app.amqp._retry_publish(body.delay, values)
        return ()

    def _results(self, chord: ReadyChord) -> Any:
        """Return the results of a header, nested as it is nested.

        Raises:
            ChordError: A part did not succeed.
        """
        if chord.header is None:
            return [_value(task_id, meta) for task_id, meta in chord.metas.items()]
        header = result_from_tuple(chord.header, self._backend.app)
        missing = [leaf.id for leaf in _leaves(header) if leaf.id not in chord.metas]
        if missing:
            chord.metas.update({meta["task_id"]: meta for meta in self._backend.metas(missing)})
        return _nested(header, chord.metas)

    def _told(self, meta: dict[str, Any]) -> Any:
        """Return a part's result, or what went wrong as Celery's JSON of an exception."""
        if meta["status"] in states.PROPAGATE_STATES:
            return self._backend.prepare_exception(meta.get("result"), serializer="json")
        return meta.get("result")

    def _nesting(self, chord_id: str, header: Any) -> bytes | None:
        # A flat header needs none, and a generator must not be run here: Celery sends while it runs.
        if isinstance(header, _regen) or not any(isinstance(part, GroupResult) for part in header):
            return None
        nested = self._backend.app.GroupResult(chord_id, list(header))
        packed: bytes = self._backend.pack(nested.as_tuple(), "chord.header", chord_id)
        return packed

    def _count_body(self, body: Any, status: str) -> Sequence[Any]:
        """Count a body that was never sent in the chord around it, which Celery does not."""
        options = body.options
        if not (options.get("chord") and options.get("group_id")):
            return ()
        place = options.get("group_index") or 0
        return self._returned(body.id, status, options["group_id"], place, None)

    def _returned(
        self, task_id: str, status: str, chord_id: str, position: int, value: dict[str, Any] | None
    ) -> Sequence[Any]:
        found: Sequence[Any] = self._database.rows(
            "SELECT * FROM return_part(:id, :status, :chord, :position, :value)",
            id=task_id,
            status=status,
            chord=chord_id,
            position=position,
            value=None if value is None else self._backend.pack(value, "result.meta", task_id),
        )
        return found


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
    return _value(result.id, metas.get(result.id, {"status": states.PENDING}))


def _value(task_id: str, meta: dict[str, Any]) -> Any:
    if "result" not in meta:
        raise ChordError(f"The result of {task_id} is gone: it has expired or was forgotten")
    if meta["status"] in states.PROPAGATE_STATES:
        error = meta["result"]
        raise _create_chord_error_with_cause(f"Dependency {task_id} raised {error!r}", error)
    return meta["result"]
