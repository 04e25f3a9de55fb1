"""A Celery result backend on Postgres: pushed results and chords that Postgres counts.

Usable by any Celery project: ``result_backend = "agentpg://user@host/database"``.

Invariants
  * A result, its chord's countdown and the notification are one statement (schema/0002_results.sql).
  * Tasks of a graph (header ``ai_agent``) keep their outcome in their own row; this backend reads it
    and never writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from celery import states
from celery.backends.asynchronous import AsyncBackendMixin
from celery.backends.base import COMPRESSED_PAYLOAD_MAGIC, Backend
from celery.result import result_from_tuple

from celery_app.errors import ConfigurationError, ServiceUnavailable, Unsealed
from celery_app.postgres.chords import Chords, RunOn
from celery_app.postgres.connection import Database
from celery_app.postgres.consumer import ResultConsumer
from celery_app.postgres.migrate import migrate
from celery_app.postgres.options import notify_mode, seconds, vault_of
from celery_app.postgres.outcome import celery_meta
from celery_app.postgres.request import chord_of, is_graph_task, position_of, with_members
from celery_app.redaction import redacted_values

#: Longest encoded value, in bytes, that is kept in a chord's part as well as in the result.
_SMALL_VALUE = 2000


class PostgresBackend(AsyncBackendMixin, Backend):
    """Results of Celery tasks in Postgres.

    Args:
        app: The Celery app.
        url: ``agentpg://user@host/database``, or ``agentpg+`` before an SQLAlchemy URL.
    """

    supports_native_join = True
    supports_result_compression = True
    supports_autoexpire = False
    supports_failure_expires = True
    persistent = True

    def __init__(self, app: Any, url: str = "", **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        # One backend for all threads: one pool, one listener.
        self.thread_safe = True
        self.vault = vault_of(self.app)
        self.database = Database(url, self.vault)
        self._notify = notify_mode(self.app)
        self.chords = Chords(self)
        self.result_consumer = ResultConsumer(
            self,
            self.database,
            self.app,
            self.accept,
            self._pending_results,
            self._pending_messages,
        )

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url})

    def create_tables(self) -> None:
        """Create the backend's tables, for projects that use the backend alone."""
        migrate(self.database)

    def pack(self, value: Any, column: str, key: str) -> bytes:
        """Return a value in the backend's serialization, as bytes for a column of the row `key`."""
        encoded = self.encode(value)
        clear = encoded if isinstance(encoded, bytes) else encoded.encode()
        return self.vault.seal(clear, column, key)

    def unpack(self, stored: bytes | memoryview, column: str, key: str) -> Any:
        """Return the value that was packed for that place. Raises `Unsealed`."""
        return self.decode(self.vault.open(stored, column, key))

    # Results

    def metas(
        self, task_ids: Sequence[str], query: Callable[..., Sequence[Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Return the metadata of the given tasks that have any, in one query.

        Args:
            task_ids: The tasks.
            query: What runs the query; by default a connection of the pool.
        """
        rows = (query or self.database.rows)("SELECT * FROM metas(:ids)", ids=list(task_ids))
        try:
            return self._metas(rows)
        except Unsealed:
            # One that was tampered with must not hide the others.
            return [meta for row in rows for meta in self._metas_or_refusal(row)]

    def _metas_or_refusal(self, row: Any) -> list[dict[str, Any]]:
        try:
            return self._metas([row])
        except Unsealed as refused:
            return [{"task_id": row.task_id, "status": states.FAILURE, "result": refused}]

    def _metas(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        found = [
            celery_meta(row.task_id, row.status, row.meta, row.error, row.cause, self.vault)
            for row in rows
            if row.ours
        ]
        others = [row for row in rows if not row.ours]
        decoded = self.decode_all([(row.task_id, row.meta) for row in others])
        found += [
            {**meta, "task_id": row.task_id} for row, meta in zip(others, decoded, strict=True)
        ]
        return found

    def decode_all(self, stored: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
        """Decode results of tasks, as they are stored.

        Many JSON documents are read as one, in a third of the time.
        """
        documents = [self.vault.open(meta, "result.meta", task_id) for task_id, meta in stored]
        if self.serializer == "json" and not any(
            document.startswith(COMPRESSED_PAYLOAD_MAGIC) for document in documents
        ):
            decoded = self.decode(b"[" + b",".join(documents) + b"]")
        else:
            decoded = [self.decode(document) for document in documents]
        return [self.meta_from_decoded(meta) for meta in decoded]

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        found = self.metas([task_id])
        return found[0] if found else {"status": states.PENDING, "result": None}

    def get_many(
        self,
        task_ids: Iterable[Any],
        timeout: float | None = None,
        max_iterations: int | None = None,
        on_message: Any = None,
        **kwargs: Any,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (id, metadata) of those tasks that are ready now."""
        ids = [str(task_id) for task_id in task_ids]
        for meta in self.metas(ids):
            if meta["status"] in states.READY_STATES:
                if on_message is not None:
                    on_message(meta)
                yield meta["task_id"], meta

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> None:
        if is_graph_task(request):
            return
        if state in states.EXCEPTION_STATES:
            # An error may quote anything, and is shown to whoever asks.
            result, traceback = redacted_values(result), redacted_values(traceback)
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        counted = request if state in states.READY_STATES else None
        chord = chord_of(counted)
        ready = self.database.rows(
            "SELECT * FROM "
            "store_result(:id, :status, :meta, :ready, :chord, :position, :value, :announce)",
            id=task_id,
            status=state,
            meta=self.pack(meta, "result.meta", task_id),
            ready=state in states.READY_STATES,
            chord=chord,
            position=position_of(counted),
            value=self._small_value(task_id, state, result) if chord else None,
            announce=self._notify == "inline",
        )
        if self._notify == "after":
            self.database.rows("SELECT announce(:id)", id=task_id)
        self.chords.publish(ready)

    def _small_value(self, task_id: str, state: str, result: Any) -> bytes | None:
        """Return what a chord's part keeps besides the result, so that joining it is quick.

        It is sealed as the result that it is a copy of.
        """
        if state != states.SUCCESS:
            return None
        value = self.pack({"status": state, "result": result}, "result.meta", task_id)
        return value if len(value) <= _SMALL_VALUE else None

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Keep a result and count its part, in one statement."""
        if is_graph_task(request):
            return
        if store_result and not getattr(request, "ignore_result", False):
            self.store_result(task_id, result, state, request=request)
        elif request and request.chord:
            self.on_chord_part_return(request, state, result)

    def mark_as_failure(self, task_id: str, exc: Any, *args: Any, **kwargs: Any) -> None:
        """Keep a failure, count its part, pass it down the chain, call the errbacks."""
        request = kwargs.get("request")
        if is_graph_task(request):
            return
        super().mark_as_failure(task_id, exc, *args, **kwargs)

    def mark_as_revoked(self, task_id: str, *args: Any, **kwargs: Any) -> None:
        """Keep a revocation and count its part."""
        if not is_graph_task(kwargs.get("request")):
            super().mark_as_revoked(task_id, *args, **kwargs)

    def _fail_chain(self, chain: Any, *args: Any, **kwargs: Any) -> None:
        """Pass a failure down a chain, and to the members of a group that it ends in."""
        # A request's chain may be a placeholder that is no list.
        steps = with_members(chain) if isinstance(chain, list | tuple) else ()
        super()._fail_chain(list(steps), *args, **kwargs)

    def _forget(self, task_id: str) -> None:
        self.database.rows("DELETE FROM result WHERE task_id = :id", id=task_id)
        self.result_consumer.cancel_for(task_id)

    def cleanup(self) -> None:
        """Delete what is older than `result_expires`, `result_failure_expires` for failures and
        `result_chord_expires` for chords; rows of graphs are never touched.
        """
        conf = self.app.conf
        chords = conf.result_chord_expires
        failures = conf.result_failure_expires
        self.database.rows(
            "SELECT clean_up(:results, :failures, :chords)",
            results=seconds(self.expires),
            failures=seconds(self.expires if failures is None else failures),
            chords=seconds(self.expires if chords is None else chords),
        )

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Passing faults of Postgres may be tried again."""
        return isinstance(exc, ServiceUnavailable)

    # Groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.database.rows(
            "INSERT INTO group_result (group_id, meta) VALUES (:id, :meta) "
            "ON CONFLICT (group_id) DO UPDATE SET meta = excluded.meta",
            id=group_id,
            meta=self.pack({"result": result.as_tuple()}, "group_result.meta", group_id),
        )
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        row = self.database.row("SELECT meta FROM group_result WHERE group_id = :id", id=group_id)
        if row is None:
            return None
        meta: dict[str, Any] = self.unpack(row.meta, "group_result.meta", group_id)
        meta["result"] = result_from_tuple(meta["result"], self.app)
        return meta

    def _delete_group(self, group_id: str) -> None:
        self.database.rows("DELETE FROM group_result WHERE group_id = :id", id=group_id)

    # Chords

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Store the body and the shape of the header, before the first part is sent."""
        group_id, results = header_result_args
        self.chords.begin(group_id, body, results)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many parts there are; the last of them may be back already."""
        self.chords.set_size(group_id, chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Expect one more part."""
        self.chords.expect_one_more(chord_id)

    def open_chord(
        self,
        body: Any,
        parts: Sequence[str] = (),
        size: int | None = None,
        run_on: RunOn = "success",
    ) -> str:
        """Store a chord whose parts are tasks that anybody may send, or has sent already.

        Args:
            body: Signature to call with the parts' results; its task id becomes the chord's id.
            parts: Task ids, in the order of the body's argument. A task may be part of many chords,
                and may have ended before.
            size: How many parts there will be. Without it the chord stays open: it may grow with
                `extend_chord` and is complete after `close_chord`.
            run_on: Whether the body is called if all parts ``succeed``, if any fails (``failure``;
                it is revoked if none does), or ``always``. The two latter get a failed part as
                ``{"exc_type", "exc_message", "exc_module"}`` in its place.

        Returns:
            The id of the body's task. Opening the same chord twice changes nothing.

        Raises:
            ConfigurationError: More parts are given than `size` says.
        """
        if size is not None and len(parts) > size:
            raise ConfigurationError(f"a chord of size {size} cannot have {len(parts)} parts")
        return self.chords.open(body, parts, size, run_on)

    def extend_chord(self, chord_id: str, parts: Sequence[str]) -> None:
        """Add parts to an open chord; those that it has already are not added again.

        Raises:
            ConfigurationError: There is no such chord, or it is closed.
        """
        if not self.chords.extend(chord_id, parts):
            raise ConfigurationError(f"chord {chord_id} is closed, or there is none with this id")

    def close_chord(self, chord_id: str) -> None:
        """Say that an open chord has all its parts. Closing it twice changes nothing."""
        self.chords.close(chord_id)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a part whose result is not stored, or whose failure was passed down a chain."""
        if request.group and request.id:
            value = {"status": state, "result": self.encode_result(result, state)}
            self.chords.count(request.id, state, request.group, position_of(request), value)

    def publish_ready_chords(self, grace: float) -> int:
        """Publish bodies that have been ready for `grace` seconds; return how many.

        Whoever completed those chords died before it could publish them.
        """
        return self.chords.publish_overdue(grace)
