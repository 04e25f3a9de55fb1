"""The visibility timeout: a worker that lives keeps its messages, a worker that died loses them soon.

On Redis a message belongs to its worker until it has been in the broker's index of unconfirmed
messages for the visibility timeout; then any worker puts it back into its queue. The keeper moves
what this worker holds to the front of that index, again and again.

Invariants
  * The keeper is a thread with a connection of its own: it goes on while the consumer is cut off, and
    through a warm shutdown until the last task has ended.
  * Only what is in the index already is moved; nothing is ever added to it here.
  * It has tried on a scratch index that kombu does all this as expected, or it stays off and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from celery import Celery, bootsteps
from kombu.utils.uuid import uuid

logger = logging.getLogger(__name__)

#: How often within the timeout a message is renewed; so many failures in a row may happen.
_TIMES = 6
#: Longest pause before a broker that does not answer is tried again, in seconds.
_RETRY = 1.0
#: Seconds by which a time that was noted just now may be off.
_SLACK = 600.0
#: Where the trial takes place, instead of the index that everybody works with.
_SCRATCH = {"unacked_key": "keeper_trial", "unacked_index_key": "keeper_trial_index"}


def renew(channel: Any, tags: Iterable[str]) -> None:
    """Make messages that are unconfirmed look as if they had been delivered just now."""
    with channel.conn_or_acquire() as client:
        client.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)


class Keeper:
    """Renews what a worker holds, from `start` to `stop`.

    Args:
        app: The Celery app, for the connection.
        held: Tells the delivery tags of what the worker holds now.
    """

    def __init__(self, app: Celery, held: Callable[[], list[str]]) -> None:
        self._app = app
        self._held = held
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visibility-keeper", daemon=True)

    @property
    def running(self) -> bool:
        """Whether messages are being kept now."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin, if this has not been done."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """End after the renewal that is under way."""
        self._stopping.set()

    def _run(self) -> None:
        answering = True
        while not self._stopping.is_set():
            try:
                if not self._as_expected():
                    return
                answering = True
                self._keep()
            except Exception as error:
                # Whatever it was: without renewal every long task would be handed out twice.
                if answering:
                    logger.warning("messages cannot be kept at present: %r", error)
                answering = False
                self._stopping.wait(_RETRY)

    def _as_expected(self) -> bool:
        with self._app.connection_for_write(transport_options=_SCRATCH) as connection:
            connection.connect()
            wrong = trial(connection.default_channel)
        if wrong is not None:
            logger.warning(
                "messages of long tasks are not kept from being delivered again: %s;"
                " install the versions of celery and kombu that this package asks for",
                wrong,
            )
        return wrong is None

    def _keep(self) -> None:
        with self._app.connection_for_write() as connection:
            connection.connect()
            channel = connection.default_channel
            period = channel.visibility_timeout / _TIMES
            due = time.monotonic()
            # After a broker that stood still the next renewal is overdue, and follows at once.
            while not self._stopping.wait(max(0.0, due - time.monotonic())):
                due = time.monotonic() + period
                if tags := self._held():
                    renew(channel, tags)


def trial(channel: Any) -> str | None:
    """Deliver, renew and confirm a message on a channel; return what was not as expected, or None."""
    tag = f"trial-{uuid()}"
    try:
        properties = {"delivery_tag": tag, "delivery_info": {"exchange": "", "routing_key": tag}}
        sent = channel.prepare_message("", properties=properties)
        channel.qos.append(channel.message_to_python(sent), tag)
        with channel.conn_or_acquire() as client:
            delivered = _scores(client, channel).get(tag)
            client.zadd(channel.unacked_index_key, {tag: 0})
            renew(channel, [tag, f"{tag}-unknown"])
            renewed = _scores(client, channel)
            channel.qos.ack(tag)
            confirmed = _scores(client, channel)
    except (AttributeError, TypeError) as error:
        return f"kombu's Redis transport has changed ({error})"
    now = time.time()
    if delivered is None or abs(now - delivered) > _SLACK:
        return "kombu does not note the time of a delivery where it used to"
    if abs(now - renewed.get(tag, 0)) > _SLACK or f"{tag}-unknown" in renewed:
        return "the time of a delivery cannot be changed"
    if tag in confirmed:
        return "kombu does not forget what is confirmed where it used to"
    return None


def _scores(client: Any, channel: Any) -> dict[str, float]:
    found = client.zrange(channel.unacked_index_key, 0, -1, withscores=True)
    return {tag.decode(): score for tag, score in found}


class VisibilityStep(bootsteps.StartStopStep):
    """Consumer bootstep: the keeper of a worker, over all its connections."""

    requires = {"celery.worker.consumer.tasks:Tasks"}  # noqa: RUF012 - Celery's own form

    def __init__(self, c: Any, **kwargs: Any) -> None:
        super().__init__(c, **kwargs)
        self._keeper = Keeper(c.app, c.held.tags)

    def include_if(self, c: Any) -> bool:
        """Tell whether the broker has a visibility timeout that can be renewed."""
        return bool(c.conninfo.transport.driver_type == "redis")

    def start(self, c: Any) -> None:
        """Begin with the first connection."""
        self._keeper.start()

    def stop(self, c: Any) -> None:
        """Go on: the connection is left, not the tasks."""

    def shutdown(self, c: Any) -> None:
        """End, once the last task has ended."""
        self._keeper.stop()

    def info(self, c: Any) -> dict[str, Any]:
        """Return what `inspect stats` and Flower show."""
        return {"messages": {"held": len(c.held.tags()), "kept": self._keeper.running}}
