"""The gate of the agents' queues: they are served only while a model server answers.

Invariants
  * Only queues of agents are held back, and only those that this worker served; everything else
    goes on.
  * What is held back stays held back over any number of lost connections to the broker.
  * The gate is shut until the first look has shown a host.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps

from agents.ollama import KEEP_ALIVE
from celery_app.celery import agent_manager, app, settings
from celery_app.queues import is_agent_queue
from celery_app.worker.binding import host_pool
from celery_app.worker.models import ModelWatch, served_profiles

logger = logging.getLogger(__name__)

# It has a line for every request, and the hosts are asked how they are every second.
logging.getLogger("httpx").setLevel(logging.WARNING)


class GateStep(bootsteps.StartStopStep):
    """Consumer bootstep: the gate of a worker, over all its connections."""

    requires = {"celery.worker.consumer.tasks:Tasks"}  # noqa: RUF012 - Celery's own form

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        self._held: set[str] = set()
        self._consumer = c
        served = [name for name in c.app.amqp.queues.consume_from if is_agent_queue(name)]
        ollama = settings.components.ollama
        self._watch = ModelWatch(
            host_pool(),
            served_profiles(agent_manager().profiles, served),
            interval=ollama.probe_interval,
            may_pull=ollama.pull,
            keep_alive=KEEP_ALIVE,
            on_look=self._nudge,
        )
        c.gate = self
        self.enabled = bool(served)

    def start(self, c: Any) -> None:
        """Shut the gate before anything is consumed, unless a host is known to answer."""
        self._shut()
        self._watch.start()

    def stop(self, c: Any) -> None:
        """Go on: the connection is left, not the hosts."""

    def shutdown(self, c: Any) -> None:
        """End the watch."""
        self._watch.stop()

    def info(self, c: Any) -> dict[str, Any]:
        """Return what `inspect stats` and Flower show."""
        return {"models": self.report()}

    def report(self) -> dict[str, Any]:
        """Return how the hosts and the gate stand, as JSON values."""
        if not self.enabled:
            return {"gate": "none: this worker serves no queue of agents"}
        return {**self._watch.report(), "held_queues": sorted(self._held)}

    # In the thread of the watch

    def _nudge(self) -> None:
        # A connection that is lost takes with it what was to be called: so it is asked every time.
        if self._to_shut() or self._to_open():
            self._consumer.call_soon(self._apply)

    # In the thread of the consumer, except where nothing is changed

    def _apply(self) -> None:
        self._shut()
        for queue in self._to_open():
            self._consumer.add_task_queue(queue)
            self._held.discard(queue)
            logger.info("queue %s is served: a model server answers", queue)

    def _shut(self) -> None:
        for queue in self._to_shut():
            # First, so that it is opened again whatever happens now.
            self._held.add(queue)
            self._consumer.cancel_task_queue(queue)

    def _to_shut(self) -> list[str]:
        consumed = sorted(self._consumer.app.amqp.queues.consume_from)
        return [q for q in consumed if is_agent_queue(q) and not self._watch.serves(q)]

    def _to_open(self) -> list[str]:
        return [queue for queue in sorted(self._held) if self._watch.serves(queue)]


app.steps["consumer"].add(GateStep)
