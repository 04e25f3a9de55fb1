"""Which user of this machine is at the other end of a connection.

Linux tells so through a netlink socket (sock_diag(7)): it is given the addresses of a socket, its own and its
peer's, and answers with what `struct inet_diag_msg` of linux/inet_diag.h has, the user among it. Unlike
/proc/net/tcp, which lists every socket there is, that takes microseconds.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from ipaddress import ip_address

__all__ = ["user_of"]

#: NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY and NLM_F_REQUEST of the kernel's headers.
_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1
#: nlmsghdr: length, type, flags, number, sender.
_HEAD = struct.Struct("=IHHII")
#: inet_diag_req_v2: family, protocol, extensions, states; and inet_diag_sockid: ports, addresses, interface,
#: cookie.
_ASKED = struct.Struct("=BBBxI2s2s16s16sIII")
_ANY_STATE, _ANY_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
#: inet_diag_msg: family, state, timer, retries; the same sockid (48 bytes); expiry, two queues, user, inode.
_TOLD = struct.Struct("=BBBB48xIIIII")


def user_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the id of the user whose socket is connected from one address to the other.

    None where the system does not tell, or nobody has such a socket.
    """
    if not hasattr(socket, "AF_NETLINK"):
        return None
    for family in _families(client[0]):
        if (user := _asked(family, client, server)) is not None:
            return user
    return None


@lru_cache(maxsize=1000)
def _families(host: str) -> tuple[int, ...]:
    """Return of which kinds the client's socket may be: one of version 6 reaches version 4 as well."""
    address = ip_address(host)
    if address.version == 4 or address.ipv4_mapped:
        return socket.AF_INET, socket.AF_INET6
    return (socket.AF_INET6,)


def _asked(family: int, client: tuple[str, int], server: tuple[str, int]) -> int | None:
    asked = _ASKED.pack(
        family, socket.IPPROTO_TCP, 0, _ANY_STATE, _port(client), _port(server),
        _packed(family, client[0]), _packed(family, server[0]), 0, _ANY_COOKIE, _ANY_COOKIE,
    )  # fmt: skip
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.send(_HEAD.pack(_HEAD.size + len(asked), _BY_FAMILY, _REQUEST, 0, 0) + asked)
            answer = kernel.recv(4096)
    except OSError:
        return None
    if _HEAD.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    *_, user, _inode = _TOLD.unpack_from(answer, _HEAD.size)
    return int(user)


def _port(address: tuple[str, int]) -> bytes:
    return address[1].to_bytes(2, "big")


@lru_cache(maxsize=1000)
def _packed(family: int, host: str) -> bytes:
    address = ip_address(host)
    if family == socket.AF_INET:
        plain = getattr(address, "ipv4_mapped", None) or address
        return plain.packed.ljust(16, b"\0")
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
