"""kombu's Redis transport, with one client for all commands of a channel.

kombu makes a new client object for every command that it sends; redis-py takes longer for that than
for the command. A client may be shared by threads, since each command takes a connection of the pool.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Connection
from kombu.transport import redis

__all__ = ["App", "Channel", "Transport", "use_transport"]


class Channel(redis.Channel):
    """A channel that keeps its client."""

    _client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)
        # The pool is another one after a lost connection, and in a forked child.
        if self._client is None or self._client.connection_pool is not self.pool:
            self._client = super()._create_client()
        return self._client


class Transport(redis.Transport):
    """The Redis transport of whoever sends."""

    Channel = Channel


def use_transport(connection: Connection, transport: str) -> Connection:
    """Let a connection use another Redis transport, if the broker is a Redis; return it."""
    if connection.get_transport_cls() is redis.Transport:
        connection.transport_cls = transport
        # So it is called wherever a connection is shown.
        connection.resolve_aliases = {**connection.resolve_aliases, transport: "redis"}
    return connection


class App(Celery):
    """A Celery app that sends with our transport."""

    def connection_for_write(self, *args: Any, **kwargs: Any) -> Connection:
        """Return a connection to send with."""
        connection = super().connection_for_write(*args, **kwargs)
        return use_transport(connection, f"{__name__}:{Transport.__name__}")
