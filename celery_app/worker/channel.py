"""The worker's end of the broker: kombu's Redis transport, ready for what it may meet there.

Invariants
  * What is no message is set aside with one line in the log, and what stands behind it is served.
  * What was decided about a message (done, refused, put back) is kept with it until a broker has
    heard it, over any number of lost connections. That one is done with makes room for the next at
    once; the broker hears it soon, with all that are done until then.
  * A broker that is full loses nothing that it had accepted: the message runs, only unsecured.
  * The broker keeps no copy of a message of a graph that was handed out. Postgres knows that it was sent:
    should it be lost, recovery sends it again, sooner than a visibility timeout would.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kombu.asynchronous import get_event_loop
from kombu.transport import redis, virtual
from redis.exceptions import RedisError

from celery_app import broker
from celery_app.postgres.request import is_graph_task

logger = logging.getLogger(__name__)

#: Raised by what somebody else has put into a queue.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
#: Seconds that a verdict waits for others. Told one by one they took a busy consumer a fifth of its time.
_VERDICTS_WAIT = 0.05


class NoMessage(ValueError):
    """What came out of a queue cannot be read as a message."""


class Message(virtual.Message):
    """A message that remembers its verdict until the broker has heard it.

    Attributes:
        verdict: What was decided and the broker has not heard yet.
        on_settled: Called once the broker has heard.
    """

    verdict: Callable[[], None] | None = None
    on_settled: Callable[[Message], None] | None = None

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **kwargs)
            # What the channel will ask for.
            info = self.delivery_info
            _words(self.delivery_tag, info["exchange"], info["routing_key"])
        except MALFORMED as error:
            raise NoMessage(f"{error!r} in {payload!r:.300}") from error

    @property
    def is_recovered(self) -> bool:
        """Whether it is sent again should it be lost, so that nobody needs to keep it."""
        return self.channel.recovery and is_graph_task(self.headers)

    def ack(self, multiple: bool = False) -> None:
        """Have the broker told that the message is done with."""
        if self.acknowledged and self.verdict is None:
            return
        self.verdict = functools.partial(self.ack, multiple)
        if not self.channel.closed:
            self._state = "ACK"
            self.channel.finished.add(self)

    def reject(self, requeue: bool = False) -> None:
        """Tell the broker to forget the message, or to give it to somebody."""
        verdict = functools.partial(self.reject, requeue)
        self._settle(verdict, functools.partial(super().reject, requeue))

    def requeue(self) -> None:
        """Tell the broker to give the message to somebody."""
        self._settle(self.requeue, super().requeue)

    def ack_log_error(self, logger: Any, errors: Any, multiple: bool = False) -> None:
        """Tell the broker; that it cannot be told means that there is a new one to be found."""
        self.ack(multiple)

    def reject_log_error(self, logger: Any, errors: Any, requeue: bool = False) -> None:
        """Tell the broker; see `ack_log_error`."""
        self.reject(requeue)

    def _settle(self, verdict: Callable[[], None], tell: Callable[[], None]) -> None:
        # A verdict comes twice when the new channel is told before the old one's queue is run.
        if self.acknowledged:
            return
        self.verdict = verdict
        if self.channel.closed:
            return
        tell()
        self.settle()

    def settle(self) -> None:
        """Note that the broker has heard the verdict."""
        self.verdict = None
        if self.on_settled is not None:
            self.on_settled(self)


def _words(*values: Any) -> None:
    # Redis takes nothing else as a key, and a connection that refuses it counts as lost.
    if strange := [value for value in values if not isinstance(value, str)]:
        raise TypeError(f"{strange[0]!r:.60} is no text")


class QoS(redis.QoS):
    """What a channel has handed out, also while the broker takes no more."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message as handed out; here alone, if it is sent again should it be lost."""
        if message.is_recovered:
            virtual.QoS.append(self, message, delivery_tag)
            return
        try:
            super().append(message, delivery_tag)
        except self.channel.ResponseError as refused:
            # The message has left its queue: to refuse it here would be to lose it.
            logger.warning("message %s runs unsecured: %s", delivery_tag, refused)
            virtual.QoS.append(self, message, delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Put a message back into its queue."""
        message = self._delivered.get(tag)
        if message is None or not message.is_recovered:
            super().restore_by_tag(tag, client, leftmost)
            return
        info = message.delivery_info
        with self.pipe_or_acquire(client=client) as pipe:
            self.channel._do_restore_message(
                message._raw, info["exchange"], info["routing_key"], pipe, leftmost
            )
            pipe.execute()

    @contextlib.contextmanager
    def pipe_or_acquire(self, pipe: Any = None, client: Any = None) -> Iterator[Any]:
        """Give what commands are gathered in.

        They go together, but in no transaction, which would be three more answers to read for each message:
        whatever a broker that dies in between has of a message, recovery sends it again.
        """
        if pipe is not None:
            yield pipe
            return
        with self.channel.conn_or_acquire(client) as client:
            yield client.pipeline(transaction=False)


class Finished:
    """The messages of a channel that are done with, until the broker has heard it.

    Args:
        channel: The channel.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._messages: dict[str, Message] = {}

    def add(self, message: Message) -> None:
        """Make room for the next one; in the loop of a consumer the broker is told a little later."""
        # The transport's own would tell of this one alone.
        virtual.QoS.ack(self._channel.qos, message.delivery_tag)
        if message.is_recovered:
            message.settle()
            return
        is_first = not self._messages
        self._messages[message.delivery_tag] = message
        loop = get_event_loop()
        if loop is None:
            self.tell()
        elif is_first:
            loop.call_later(_VERDICTS_WAIT, self.tell)

    def tell(self) -> None:
        """Tell the broker. Where that fails, `Adopt` does it at the next connection."""
        channel = self._channel
        told, self._messages = self._messages, {}
        if not told or channel.closed:
            return
        if channel.ack_emulation:
            with channel.qos.pipe_or_acquire() as pipe:
                pipe.zrem(channel.unacked_index_key, *told).hdel(
                    channel.unacked_key, *told
                ).execute()
        for message in told.values():
            message.settle()


class Channel(broker.Channel):
    """A channel that outlives what it cannot read.

    Attributes:
        recovery: Whether messages of graphs are sent again should they be lost (a transport option).
    """

    recovery = False
    from_transport_options = (*broker.Channel.from_transport_options, "recovery")

    Message = Message
    QoS = QoS
    handlers: dict[str, Callable[..., Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.handlers = {source: _tolerant(read) for source, read in self.handlers.items()}
        self.finished = Finished(self)

    def close(self) -> None:
        """Close; kombu waits for the answer to its last question for messages, so that none is lost."""
        if self._in_poll:
            self._have_it_answered()
        with contextlib.suppress(RedisError, OSError):
            self.finished.tell()
        super().close()

    def _have_it_answered(self) -> None:
        """Let the broker answer now instead of after a second, which is waited for where that fails."""
        handshake = self._in_poll.handshake_metadata or {}
        number = handshake.get(b"id") or handshake.get("id")
        with contextlib.suppress(RedisError, OSError), self.conn_or_acquire() as client:
            client.client_unblock(number)


class Transport(redis.Transport):
    """The Redis transport of a worker's consumer."""

    Channel = Channel


def _tolerant(read: Callable[..., Any]) -> Callable[..., Any]:
    def read_or_set_aside(**options: Any) -> Any:
        try:
            return read(**options)
        except (RecursionError, TypeError, ValueError) as error:
            # The bytes themselves, where it was they that could not be read.
            content = getattr(error, "object", getattr(error, "doc", ""))
            logger.error("set aside what is no message: %s %.300r", error, content)  # noqa: TRY400
            return True

    return read_or_set_aside


class Held:
    """The messages that a worker has and the broker has not heard the end of. For any thread."""

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._lock = threading.Lock()

    def add(self, message: Message) -> None:
        """Hold a message until it is settled."""
        message.on_settled = self.drop
        with self._lock:
            self._messages[message.delivery_tag] = message

    def drop(self, message: Message) -> None:
        """Hold a message no longer."""
        with self._lock:
            # It may have been delivered again since, under the same tag.
            if self._messages.get(message.delivery_tag) is message:
                del self._messages[message.delivery_tag]

    def messages(self) -> list[Message]:
        """Return what is held now."""
        with self._lock:
            return list(self._messages.values())

    def tags(self) -> list[str]:
        """Return the delivery tags of what is held now."""
        with self._lock:
            return list(self._messages)
