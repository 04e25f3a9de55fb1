"""The Celery Task class of this app: ordinary for ordinary messages, durable for steps of a graph.

Invariant: a task that somebody calls with `delay()` behaves exactly as Celery documents it. Only a
message that carries the graph header is claimed, leased and fenced.
"""

from __future__ import annotations

from typing import Any

from celery import Task
from celery.exceptions import Retry

from celery_app.postgres.backend import is_graph_task
from celery_app.worker.binding import executor


class AgentTask(Task):
    """Base class of every task registered with the app (``task_cls``)."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task; as a step of a graph under a claim, with the arguments that Postgres keeps."""
        request = self.request
        if request.called_directly or not is_graph_task(request):
            return super().__call__(*args, **kwargs)
        return executor().run(request.id, self.name, _next_in_chain(request), self.run)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the task; as a step of a graph without arguments, which Celery would miss."""
        if not is_graph_task(options.get("headers")):
            return super().apply_async(args, kwargs, **options)
        return self.app.send_task(self.name, task_type=self, **options)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Try again later; for a step of a graph the delay is kept in Postgres, not in a worker."""
        if self.request.called_directly or not is_graph_task(self.request):
            return super().retry(*args, **kwargs)
        countdown = kwargs.get("countdown")
        raise Retry(
            exc=kwargs.get("exc"),
            when=self.default_retry_delay if countdown is None else countdown,
        )


def _next_in_chain(request: Any) -> str | None:
    """Return the id of the task that Celery will send after this one (its chain is kept reversed)."""
    if not request.chain:
        return None
    task_id: str | None = (request.chain[-1].get("options") or {}).get("task_id")
    return task_id
