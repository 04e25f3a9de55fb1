"""The reader of the journal: it sends traces, and tells Celery's monitors what no worker could tell them.

Invariants
  * It only reads what is committed; work never waits for it, nor for whoever receives what it sends.
  * One process reads for each purpose at a time (advisory lock), and goes on where the last one stopped.
  * A span is sent until it is received, under the same id each time. Events of Celery are sent once, or
    lost, as all of them may be.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from celery import bootsteps

from celery_app.celery import app, database, settings, tracing
from celery_app.errors import ServiceUnavailable
from celery_app.store.ends import Ended, EndStore
from celery_app.tracing import is_sampled

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from celery_app.orchestrator.spans import SpanMaker

logger = logging.getLogger(__name__)

_FINAL = ("succeeded", "failed", "cancelled", "skipped")
_TOLD = ("failed", "cancelled", "skipped", "retried")
#: Seconds after which nobody is told any more how a task stands.
_OLD = 60.0
_BATCH = 500
_INTERVAL = 1.0


class Reader(Protocol):
    """Whoever reads the journal for a purpose."""

    def read(self) -> bool:
        """Take the next events; tell whether there are more already."""
        ...


class Traces:
    """Sends what has ended as spans.

    Args:
        ends: The journal.
        maker: Makes them.
        exporter: Sends them.
        ratio: The share of runs that are traced.
        content: Whether what models said is read as well.
    """

    def __init__(
        self,
        ends: EndStore,
        maker: SpanMaker,
        exporter: SpanExporter,
        *,
        ratio: float = 1.0,
        content: bool = False,
    ) -> None:
        self._ends = ends
        self._maker = maker
        self._exporter = exporter
        self._ratio = ratio
        self._content = content

    def read(self) -> bool:
        """Send the spans of the next tasks that have ended, and note that they were received.

        Raises:
            ServiceUnavailable: The receiver did not take them; they are sent again.
        """
        with self._ends.reading("traces") as place:
            if place is None:
                return False
            found, behind = self._ends.after(place, _FINAL, _BATCH)
            self._send(task_id for task_id, _ in found)
            self._ends.note("traces", behind)
            return len(found) == _BATCH

    def _send(self, ids: Iterable[str]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        tasks = self._ends.whole(ids, replies=self._content).values()
        chosen = [task for task in tasks if is_sampled(task.root_id, self._ratio)]
        spans = [span for task in chosen for span in self._maker.spans(task)]
        if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise ServiceUnavailable(f"{len(spans)} spans were not received; they are sent again")


class Monitors:
    """Tells Flower, and whoever else hears Celery's events, how tasks stand that no worker speaks of.

    A worker that runs a task says so, and how it ended. Nobody says that one was cancelled, skipped or
    put back, or that it failed while no worker had it.

    Args:
        ends: The journal.
        hostname: The worker as which it speaks.
    """

    def __init__(self, ends: EndStore, hostname: str) -> None:
        self._ends = ends
        self._hostname = hostname

    def read(self) -> bool:
        """Tell of the next events."""
        with self._ends.reading("monitors", _OLD) as place:
            if place is None:
                return False
            found, behind = self._ends.after(place, _TOLD, _BATCH)
            # First: who hears the same twice counts it twice.
            self._ends.note("monitors", behind)
            self._tell(found)
            return len(found) == _BATCH

    def _tell(self, found: Sequence[tuple[str, str]]) -> None:
        if not found:
            return
        tasks = self._ends.tasks(task_id for task_id, _ in found)
        with app.events.default_dispatcher(hostname=self._hostname) as dispatcher:
            for task_id, kind in found:
                if task_id in tasks:
                    self._tell_of(dispatcher, tasks[task_id], kind)

    def _tell_of(self, dispatcher: Any, task: Ended, kind: str) -> None:
        names = {"retried": "task-retried", "failed": "task-failed"}
        if kind == "failed" and _was_told(task):
            return
        dispatcher.send(
            names.get(kind, "task-revoked"),
            uuid=task.id,
            name=task.name,
            args=f"({task.agent or task.type})",
            kwargs="{}",
            root_id=task.root_id,
            parent_id=task.parent_id,
        )


def _was_told(task: Ended) -> bool:
    """Whether the worker of a failed task could say so itself."""
    kinds = [
        moment.kind for moment in task.moments if moment.kind in {"started", "waiting", "expanded"}
    ]
    return kinds[-1:] == ["started"] and not task.losses


class ReaderThread(threading.Thread):
    """Reads again and again, until it is told to stop.

    Args:
        reader: Who reads.
        name: What the thread is called.
        interval: Seconds between two looks.
    """

    def __init__(self, reader: Reader, name: str, interval: float = _INTERVAL) -> None:
        super().__init__(name=name, daemon=True)
        self._reader = reader
        self._interval = interval
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Look at once: whatever the last reader left is read now."""
        while not self._stopping.is_set():
            more = False
            try:
                more = self._reader.read()
            except ServiceUnavailable as away:
                logger.warning("%s: %s", self.name, away)
            except Exception:
                # Whatever it was: nobody else may be there to go on.
                logger.exception("%s will go on", self.name)
            if not more:
                self._stopping.wait(self._interval)


class JournalStep(bootsteps.StartStopStep):
    """Worker bootstep: the readers, in threads of every worker's main process."""

    requires = {"celery.worker.components:Pool"}  # noqa: RUF012 - Celery's own form

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        ends = EndStore(database)
        self._threads = [ReaderThread(Monitors(ends, worker.hostname), "monitors")]
        if tracing.enabled:
            interval = settings.monitoring.tracing.interval
            self._threads.append(ReaderThread(traces(ends), "traces", interval))

    def start(self, worker: Any) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, worker: Any) -> None:
        """End soon."""
        for thread in self._threads:
            thread.stop()


def traces(ends: EndStore) -> Traces:
    """Return what sends traces, as the settings say."""
    from celery_app.orchestrator.spans import SpanMaker

    content = tracing.content
    maker = SpanMaker(tracing.resource(), ends.database.vault, content=content)
    return Traces(ends, maker, tracing.exporter(), ratio=tracing.ratio, content=content)


app.steps["worker"].add(JournalStep)
