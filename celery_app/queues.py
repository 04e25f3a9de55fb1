"""Which queue and priority a task travels on, and the sending itself.

Invariants
  * A message holds ids and names, never data: arguments wait in Postgres, so every message has the
    same size and shows nothing.
  * Sending is always safe to repeat: a second message for a task meets its claim.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Celery, chain
from celery.canvas import Signature
from kombu import Queue
from kombu.exceptions import OperationalError
from kombu.utils.json import loads

from celery_app.crash_points import crash_point
from celery_app.errors import ServiceUnavailable
from celery_app.postgres.request import GRAPH_HEADER
from celery_app.store.execution import Released
from celery_app.store.records import Message

logger = logging.getLogger(__name__)

#: Everything that no agent performs: registered Celery tasks, chores, collecting.
DEFAULT_QUEUE = "tasks"
#: Levels that exist on Redis, as Celery has them: 0 is served first. A worker looks into a list for each.
PRIORITY_STEPS = [0, 3, 6, 9]
_AGENT_PREFIX = "agent."


def agent_queue(agent_type: str) -> str:
    """Name the queue that the agents of a type are served from."""
    return f"{_AGENT_PREFIX}{agent_type}"


def is_agent_queue(queue: str) -> bool:
    """Tell whether a queue holds tasks of agents, which need a model."""
    return queue.startswith(_AGENT_PREFIX)


def all_queues(agent_types: Iterable[str]) -> list[Queue]:
    """Return every queue a worker serves unless it is told otherwise with ``-Q``."""
    names = [DEFAULT_QUEUE, *(agent_queue(agent_type) for agent_type in agent_types)]
    return [Queue(name) for name in names]


class PriorityQueue:
    """The queues of an app, most urgent first.

    Args:
        app: The Celery app that sends.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def signature(self, message: Message) -> Signature:
        """Return the Celery signature of one task: its id, its way, and nothing else."""
        return Signature(
            message.name,
            app=self._app,
            immutable=True,
            options={
                "task_id": message.id,
                "queue": message.queue,
                "priority": message.priority,
                "headers": {GRAPH_HEADER: True},
                "root_id": message.root_id,
                "parent_id": message.parent_id,
                "argsrepr": f"({message.agent or message.type})",
                "kwargsrepr": "{}",
            },
        )

    def ensure_reachable(self) -> None:
        """Make sure that the broker answers, before anything is promised to anybody.

        Raises:
            ServiceUnavailable: It does not.
        """
        with self._app.producer_pool.acquire(block=True) as producer, self._answering():
            producer.connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=5)

    def publish(self, released: Released) -> None:
        """Send what was released, chains as chains.

        It is noted as sent already: where the broker does not answer, recovery finds that out.
        """
        if not released:
            return
        crash_point("before-publish")
        try:
            with self._app.producer_pool.acquire(block=True) as producer, self._answering():
                for messages in released.values():
                    self._send(messages, producer)
        except ServiceUnavailable as away:
            logger.warning("%s tasks are ready but not sent yet: %s", len(released), away)
            return
        crash_point("after-publish")

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, AttributeError) as error:
            # kombu's own AttributeError: another thread is just connecting anew.
            address = self._app.connection_for_read().as_uri()
            raise ServiceUnavailable(
                f"the broker at {address} does not answer: {error}; "
                "check that it runs and that components.message_bus points to it"
            ) from error

    def _send(self, messages: Sequence[Message], producer: Any) -> None:
        steps = [self.signature(message) for message in messages]
        if len(steps) == 1:
            steps[0].apply_async(producer=producer)
        else:
            chain(*steps, app=self._app).apply_async(producer=producer, **_lineage(messages[0]))

    def waiting_ids(self) -> set[str]:
        """Return the ids of all tasks whose messages stand in a queue, in one look at the broker.

        Messages that a worker has taken are not counted.
        """
        found: set[str] = set()
        with self._app.connection_for_read() as connection:
            channel = connection.default_channel
            # kombu prefixes the keys of the commands that it uses itself; LRANGE is not one of them.
            keys = [
                f"{channel.global_keyprefix}{channel._q_for_pri(queue, level)}"
                for queue in self._app.amqp.queues
                for level in PRIORITY_STEPS
            ]
            with channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.lrange(key, 0, -1)
                for messages in pipe.execute():
                    found.update(_id_of(message) for message in messages)
        return found


def _lineage(message: Message) -> dict[str, Any]:
    return {"root_id": message.root_id, "parent_id": message.parent_id}


def _id_of(message: bytes) -> str:
    try:
        return str(loads(message)["headers"]["id"])
    except (ValueError, LookupError, TypeError, RecursionError):
        # Not one of Celery's: the worker that takes it sets it aside.
        return ""
