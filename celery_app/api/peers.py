"""Which user of this machine is at the other end of a connection.

Linux tells so in /proc/net/tcp and tcp6 (proc(5)): for each socket its own and its peer's address, as the
words of the address in the order of the machine's bytes, and the user that has opened it.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

__all__ = ["Users", "user_of"]

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _REMOTE, _USER = 1, 2, 7
_MAPPED = bytes(10) + b"\xff\xff"
#: The table of all sockets takes milliseconds to read, so connections are looked up once.
_KEPT = 2000


class Users:
    """Who is at the other end of the connections of a server."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[object, int | None]] = OrderedDict()

    def of(self, client: tuple[str, int], server_port: int) -> int | None:
        """See `user_of`.

        Args:
            client: What the server calls the other end: one object for the time of a connection, since
                another one may have the same address later.
            server_port: The server's own port.
        """
        known = self._known.get(id(client))
        if known is None:
            # It is held as well: no other object has its identity meanwhile.
            known = self._known[id(client)] = (client, user_of(client, server_port))
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known[1]


def user_of(client: tuple[str, int], server_port: int) -> int | None:
    """Return the id of the user whose socket has this address; None where the system does not tell."""
    own = set(_forms(*client))
    for fields in _sockets():
        if fields[_LOCAL] in own and fields[_REMOTE].endswith(f":{server_port:04X}"):
            return int(fields[_USER])
    return None


def _sockets() -> Iterator[list[str]]:
    for table in _TABLES:
        if table.is_file():
            yield from map(str.split, table.read_text(encoding="ascii").splitlines()[1:])


def _forms(host: str, port: int) -> Iterator[str]:
    """Yield how the address may stand there: one of version 4 also as one of version 6."""
    address: IPv4Address | IPv6Address = ip_address(host)
    yield f"{_words(address.packed)}:{port:04X}"
    if address.version == 4:
        yield f"{_words(_MAPPED + address.packed)}:{port:04X}"


def _words(packed: bytes) -> str:
    if sys.byteorder == "little":
        packed = b"".join(packed[start : start + 4][::-1] for start in range(0, len(packed), 4))
    return packed.hex().upper()
