"""kombu's Redis transport, with one client for all commands of a channel.

kombu makes a new client object for every command that it sends; redis-py takes longer for that than
for the command. A client may be shared by threads, since each command takes a connection of the pool.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES, redis

from celery_app import codec
from celery_app.redaction import redacted_values
from celery_app.security.vault import Vault

__all__ = ["App", "Channel", "Transport"]

_ALIAS = "agentredis"


class Channel(redis.Channel):
    """A channel that keeps its client."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)
        # The pool is another one after a lost connection, and in a forked child.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept


class Transport(redis.Transport):
    """The Redis transport of whoever sends."""

    Channel = Channel


# A pool makes its connections anew from a URL, which can name a transport only by an alias.
TRANSPORT_ALIASES[_ALIAS] = f"{__name__}:{Transport.__name__}"


class SendingConnection(Connection):
    """A connection that shows the address as it was given; Flower asks it which broker this is."""

    def info(self) -> dict[str, Any]:
        """Return what it is made of; of a unix socket the name of the host is the whole URL."""
        shown: dict[str, Any] = redacted_values(dict(super().info()))
        return shown

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """Return the address."""
        shown: str = super().as_uri(*args, **kwargs)
        return shown.replace(_ALIAS, "redis", 1)


class Messages(codec.ClosedMessages):
    """What the app uses to make connections and messages."""

    Connection = SendingConnection


class App(Celery):
    """A Celery app that sends with our transport, if the broker is a Redis.

    Args:
        vault: What seals its messages; by default they are in clear.
    """

    amqp_cls = f"{__name__}:{Messages.__name__}"
    events_cls = f"{codec.__name__}:{codec.ClosedEvents.__name__}"

    def __init__(self, *args: Any, vault: Vault | None = None, **kwargs: Any) -> None:
        self.vault = vault or Vault()
        codec.use(self.vault)
        super().__init__(*args, **kwargs)

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Connection:
        """Return a connection to send with."""
        address = url or self.conf.broker_write_url
        if isinstance(address, str) and address.startswith(("redis://", "redis+socket://")):
            address = address.replace("redis", _ALIAS, 1)
        return super().connection_for_write(address, **kwargs)
