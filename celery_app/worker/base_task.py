"""The Celery Task class of this app: ordinary for ordinary messages, durable for steps of a graph.

Invariant: a task that somebody calls with `delay()` behaves exactly as Celery documents it. Only a
message that carries the graph header is claimed, leased and fenced.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery import Task
from celery.exceptions import Retry
from structlog.contextvars import bound_contextvars

from celery_app.celery import tracing
from celery_app.postgres.request import is_graph_task
from celery_app.store.records import Claim
from celery_app.worker.binding import executor
from celery_app.worker.execution import this_execution
from celery_app.worker.permissions import require_celery


class AgentTask(Task):
    """Base class of every task registered with the app (``task_cls``)."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; as a step of a graph under a claim, with the arguments that Postgres keeps."""
        request = self.request
        if request.called_directly or not is_graph_task(request):
            with tracing.ordinary(self.name, self.request):
                return super().__call__(*args, **kwargs)
        return executor().run(request.id, self.name, _next_in_chain(request), self._as_step)

    def _as_step(self, *args: Any, **kwargs: Any) -> Any:
        claim = _claim()
        spec = claim.spec
        if spec.get("task") == self.name != "workflow.call":
            require_celery(self.name, spec)
        # What Celery's own retry arithmetic reads.
        self.request.retries = claim.tries
        # What it says stands under the ids of task and run already (observe.log_setup).
        within = bound_contextvars(**{"agent_id": claim.agent} if claim.agent else {})
        with within, tracing.step(claim.root_id, claim.id):
            return self.run(*args, **kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the task; as a step of a graph without arguments, which Celery would miss."""
        if not is_graph_task(options.get("headers")):
            return super().apply_async(args, kwargs, **options)
        return self.app.send_task(self.name, task_type=self, **options)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Try again later; for a step of a graph the delay is kept in Postgres, not in a worker.

        Raises:
            Retry: Always; the executor puts the step back.
            MaxRetriesExceededError: It has been tried often enough (or `exc`, if given).
        """
        if self.request.called_directly or not is_graph_task(self.request):
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and _claim().tries >= limit:
            raise exc or self.MaxRetriesExceededError(f"{self.name} was tried {limit + 1} times")
        if eta is not None:
            countdown = (eta - datetime.now(UTC)).total_seconds()
        raise Retry(exc=exc, when=self.default_retry_delay if countdown is None else countdown)


def _claim() -> Claim:
    return this_execution().claim


def _next_in_chain(request: Any) -> str | None:
    """Return the id of the task that Celery will send after this one (its chain is kept reversed)."""
    if not request.chain:
        return None
    task_id: str | None = (request.chain[-1].get("options") or {}).get("task_id")
    return task_id
