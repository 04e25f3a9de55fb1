"""The worker's end of the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from kombu import Connection, Queue
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from kombu.transport import redis
from kombu.utils.json import loads

from celery_app.celery import app
from celery_app.client import Client
from celery_app.postgres.request import GRAPH_HEADER
from celery_app.worker.channel import Message, Transport

#: Longer than anything here may take.
SECONDS = 600


@pytest.fixture
def connection(client: Client) -> Connection:
    connection = app.connection_for_read()
    connection.transport_cls = Transport
    return connection


def listening(connection: Connection, queue: str, heard: list[object]) -> redis.Channel:
    """A channel that has just asked for messages, and is answered when there is one, or very late."""
    channel = connection.channel()
    consumer = connection.Consumer([Queue(queue)], channel=channel, no_ack=True)
    consumer.register_callback(lambda body, _: heard.append(body))
    consumer.consume()
    channel.brpop_timeout = SECONDS
    connection.transport.cycle._register_BRPOP(channel)
    return channel


@pytest.mark.timeout(60)
def test_a_channel_that_waits_for_messages_closes_at_once(connection: Connection) -> None:
    with connection:
        listening(connection, f"nothing-{uuid4().hex}", []).close()


@pytest.mark.timeout(60)
def test_a_message_that_comes_while_it_closes_is_heard(connection: Connection) -> None:
    queue, heard = f"one-{uuid4().hex}", list[object]()
    with connection:
        channel = listening(connection, queue, heard)
        app.amqp.Producer(app.connection_for_write().channel()).publish("here", routing_key=queue)
        channel.close()
    assert heard == ["here"]


@pytest.fixture
def loop() -> Iterator[Hub]:
    """The loop of a consumer."""
    before = get_event_loop()
    hub = Hub()
    set_event_loop(hub)
    yield hub
    hub.close()
    set_event_loop(before)


def delivered(channel: redis.Channel, count: int, **headers: object) -> list[Message]:
    """Messages that have been sent and handed out."""
    queue = f"some-{uuid4().hex}"
    Queue(queue)(channel).declare()
    sender = app.amqp.Producer(app.connection_for_write().channel())
    for _ in range(count):
        sender.publish("here", routing_key=queue, headers=headers)
    return [channel.basic_get(queue) for _ in range(count)]


def unconfirmed(channel: redis.Channel, messages: list[Message]) -> int:
    """How many of them the broker would hand out again."""
    tags = [message.delivery_tag for message in messages]
    with channel.conn_or_acquire() as client:
        noted = {tag.decode() for tag in client.zrange(channel.unacked_index_key, 0, -1)}
        kept = [client.hget(channel.unacked_key, tag) is not None for tag in tags]
    assert kept == [tag in noted for tag in tags]
    return sum(kept)


def test_what_is_done_with_makes_room_at_once_and_is_told_together(
    connection: Connection, loop: Hub
) -> None:
    settled: list[Message] = []
    with connection:
        channel = connection.channel()
        channel.qos.prefetch_count = 3
        messages = delivered(channel, 3)
        assert not channel.qos.can_consume()
        for message in messages:
            message.on_settled = settled.append
            message.ack()
        assert channel.qos.can_consume()
        assert settled == []
        assert unconfirmed(channel, messages) == 3
        assert all(message.verdict is not None for message in messages)
        time.sleep(loop.fire_timers())
        loop.fire_timers()
        assert settled == messages
        assert unconfirmed(channel, messages) == 0
        assert all(message.acknowledged and message.verdict is None for message in messages)
        messages[0].ack()
        assert loop.timer.queue == []


@pytest.mark.usefixtures("loop")
def test_a_channel_tells_what_is_done_with_before_it_closes(connection: Connection) -> None:
    with connection:
        channel, other = connection.channel(), connection.channel()
        messages = delivered(channel, 2)
        for message in messages:
            message.ack()
        assert unconfirmed(other, messages) == 2
        channel.close()
        assert unconfirmed(other, messages) == 0


def test_what_a_lost_channel_could_not_tell_is_told_by_the_next(
    connection: Connection, loop: Hub
) -> None:
    with connection:
        channel, other = connection.channel(), connection.channel()
        [early, late] = delivered(channel, 2)
        early.ack()
        channel.closed, channel.do_restore = True, False
        late.ack()
        time.sleep(loop.fire_timers())
        loop.fire_timers()
        assert unconfirmed(other, [early, late]) == 2
        for message in (early, late):
            message.channel = other
            assert message.verdict is not None
            message.verdict()
        time.sleep(loop.fire_timers())
        loop.fire_timers()
        assert unconfirmed(other, [early, late]) == 0


def in_queue(channel: redis.Channel, messages: list[Message]) -> list[str]:
    """Which of them stand in their queue, the next one first."""
    with channel.conn_or_acquire() as client:
        waiting = client.lrange(key_of(channel, messages[0]), 0, -1)
    tags = [loads(each)["properties"]["delivery_tag"] for each in reversed(waiting)]
    return [tag for tag in tags if tag in {message.delivery_tag for message in messages}]


def key_of(channel: redis.Channel, message: Message) -> str:
    """The list that a message came from; kombu prefixes the keys of its own commands only."""
    queue = channel._q_for_pri(message.delivery_info["routing_key"], 0)
    return f"{channel.global_keyprefix}{queue}"


def test_of_what_recovery_sends_again_the_broker_keeps_no_copy(
    connection: Connection, loop: Hub
) -> None:
    settled: list[Message] = []
    with connection:
        channel = connection.channel()
        channel.qos.prefetch_count = 2
        messages = delivered(channel, 2, **{GRAPH_HEADER: True})
        assert not channel.qos.can_consume()
        assert unconfirmed(channel, messages) == 0
        for message in messages:
            message.on_settled = settled.append
            message.ack()
        assert channel.qos.can_consume()
        assert settled == messages
        assert loop.timer.queue == []


@pytest.mark.usefixtures("loop")
def test_what_the_broker_keeps_no_copy_of_is_put_back_into_its_queue(
    connection: Connection,
) -> None:
    with connection:
        channel, other = connection.channel(), connection.channel()
        done, refused, left = messages = delivered(channel, 3, **{GRAPH_HEADER: True})
        done.ack()
        refused.requeue()
        assert in_queue(other, messages) == [refused.delivery_tag]
        channel.close()
        # As kombu does it: what is left when a channel closes goes first.
        assert in_queue(other, messages) == [left.delivery_tag, refused.delivery_tag]
        again = other.basic_get(left.delivery_info["routing_key"])
        assert again.headers["redelivered"]
        assert again.headers[GRAPH_HEADER]


@pytest.mark.usefixtures("loop")
def test_without_recovery_the_broker_keeps_messages_of_graphs_as_well(client: Client) -> None:
    connection = app.connection_for_read(
        transport_options={**app.conf.broker_transport_options, "recovery": False}
    )
    connection.transport_cls = Transport
    with connection:
        channel = connection.channel()
        messages = delivered(channel, 2, **{GRAPH_HEADER: True})
        assert unconfirmed(channel, messages) == 2
        channel.close()
        assert len(in_queue(connection.channel(), messages)) == 2
