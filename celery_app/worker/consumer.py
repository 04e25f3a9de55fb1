"""The consumer of a worker: what it is doing outlives the broker that it got it from.

Invariants
  * Losing the broker ends no task and no worker. What runs is attached to the next connection, and
    its end is told there; what had not begun is put back into its queue at once.
  * A task that is not lost to its worker is not delivered to another, unless the broker was away for
    longer than its visibility timeout; then the claims are what keeps it from running twice.
  * Nothing that stands in a queue can end a worker.
  * What a worker that is to end does not finish in time is handed back (see `ending`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.exceptions import CPendingDeprecationWarning
from celery.worker import consumer, state
from kombu.exceptions import KombuError
from kombu.transport import redis

from celery_app.codec import check
from celery_app.errors import Unsealed
from celery_app.worker.channel import MALFORMED, Held, Message
from celery_app.worker.ending import hand_back
from celery_app.worker.shape import check_shape
from celery_app.worker.visibility import VisibilityStep, renew

logger = logging.getLogger(__name__)

_TRANSPORT = "celery_app.worker.channel:Transport"
#: Seconds that events wait for others to be told to monitors together. Each alone, at once, took a worker
#: with short tasks a fifth of its time.
_EVENTS_WAIT = 0.1


class Adopt(bootsteps.StartStopStep):
    """Consumer bootstep: attach what an earlier connection handed out to the present one."""

    requires = {"celery.worker.consumer.tasks:Tasks"}  # noqa: RUF012 - Celery's own form

    def start(self, c: Any) -> None:
        """Go through what is held; at the first connection that is nothing."""
        channel = c.task_consumer.channel
        running = {request.message for request in tuple(state.active_requests)}
        for message in c.held.messages():
            message.channel = channel
            if message.verdict is not None:
                message.verdict()
                continue
            # It counts for the prefetch limit, and a broker that has lost it gets it back.
            channel.qos.append(message, message.delivery_tag)
            if message not in running:
                # Celery has dropped it: it was waiting for its time or for a free slot.
                message.requeue()


class Consumer(consumer.Consumer):
    """Celery's consumer, which survives the loss of its broker (setting ``worker_consumer``).

    Attributes:
        held: The messages whose end the broker has not heard yet.
    """

    class Blueprint(consumer.Consumer.Blueprint):
        """Celery's own steps and ours."""

        default_steps = (*consumer.Consumer.Blueprint.default_steps, Adopt, VisibilityStep)

    connection: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.held = Held()
        self._told_at = 0.0
        super().__init__(*args, **kwargs)

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """Connect, by our transport if the broker is a Redis."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        if connection.get_transport_cls() is redis.Transport:
            connection.transport_cls = _TRANSPORT
            # So it is called wherever a connection is shown.
            connection.resolve_aliases = {**connection.resolve_aliases, _TRANSPORT: "redis"}
        connection = self.ensure_connected(connection)
        if tags := self.held.tags():
            # The transport's first act will be to hand out what is overdue.
            renew(connection.default_channel, tags)
        return connection

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Leave the connection, and leave what it handed out as it is."""
        if self.task_consumer is not None and self.task_consumer.channel is not None:
            # It would put everything back over the dead connection, which ends the worker; and it
            # is still being worked on.
            self.task_consumer.channel.do_restore = False
        with warnings.catch_warnings():
            # Celery warns here of what `Adopt` prevents.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)

    def cancel_active_requests(self) -> None:
        """End what runs: the time of a soft shutdown is up."""
        hand_back()
        # No thread can be ended from outside; the steps of graphs have been told to end.
        with contextlib.suppress(NotImplementedError):
            super().cancel_active_requests()

    def shutdown(self) -> None:
        """End, also while there is no broker to take leave of."""
        if self.connection is None:
            # Celery's steps ask a connection which errors to expect.
            self.connection = self.conninfo
        super().shutdown()

    def call_soon_ack(self, p: Callable[..., None], *args: Any, **kwargs: Any) -> Any:
        """Have a verdict on a message told soon, and remember it from now on."""
        message = getattr(p, "__self__", None)
        if isinstance(message, Message):
            message.verdict = functools.partial(p, *args, **kwargs)
        return super().call_soon_ack(p, *args, **kwargs)

    def on_send_event_buffered(self) -> None:
        """Tell monitors of an event soon, with all that happen until then."""
        now = time.monotonic()
        # A telling that was lost with its connection is made up for by that of the next event.
        if self.hub and now >= self._told_at:
            self._told_at = now + _EVENTS_WAIT
            # The timer is the loop's own; events come from the threads of tasks, too.
            self.hub.call_soon(self.hub.call_later, _EVENTS_WAIT, self._flush_events)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            if isinstance(message, Message):
                self.held.add(message)
            try:
                check_shape(message)
                check(message, self.app.vault)
                handle(message)
            except (*MALFORMED, KombuError, Unsealed) as error:
                self._set_aside(message, error)

        return on_task_received

    def _set_aside(self, message: Any, error: Exception) -> None:
        logger.error(
            "set aside a message that is no task: %r in %r, headers %.300r",
            *(error, message, message.headers),
        )
        message.reject_log_error(logger, self.connection_errors)
