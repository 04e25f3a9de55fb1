"""The worker's end of the broker."""

from __future__ import annotations

from uuid import uuid4

import pytest
from kombu import Connection, Queue
from kombu.transport import redis

from celery_app.celery import app
from celery_app.client import Client
from celery_app.worker.channel import Transport

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
