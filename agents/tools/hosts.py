"""Which hosts `http_get` may ask, and which addresses they may have.

Invariants
  * A host that no pattern names is never asked.
  * An address that is not public (loopback, private, link-local, multicast, reserved) is asked only
    where a pattern names that very address, or `localhost`: a name alone never leads into the house.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Self

__all__ = ["AllowedHosts", "HostPattern", "canonical"]

Address = IPv4Address | IPv6Address

_NAME = r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_PATTERN = re.compile(rf"(\*|(?:\*\.)?{_NAME}|\[[0-9a-f:.]+\])(?::(\d{{1,5}}))?")
# Addresses that carry an IPv4 address to which a gateway would pass them on.
_NAT64 = ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class HostPattern:
    """One entry of the list: `example.org`, `*.example.org`, `127.0.0.1:8080`, `[::1]`, or `*`.

    `*` means every host with a public address. Without a port it means any.
    """

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an entry; raise ValueError in words."""
        match = _PATTERN.fullmatch(text.strip().lower())
        port = int(match[2]) if match and match[2] else None
        if match is None or port == 0 or (port or 0) > 65_535:
            raise ValueError("write a host as example.org, *.example.org or 127.0.0.1:8080")
        return cls(canonical(match[1]), port)

    @property
    def address(self) -> Address | None:
        """The address that it names literally, if it does."""
        return _literal(self.host)

    def fits(self, host: str, port: int) -> bool:
        """Say whether it means this host and port."""
        if self.port not in (None, port):
            return False
        if self.host.startswith("*"):
            return host.endswith(self.host[1:])
        return host == self.host


class AllowedHosts:
    """The whole list."""

    def __init__(self, entries: Iterable[str]) -> None:
        self._patterns = [HostPattern.parse(entry) for entry in entries]

    def allows(self, host: str, port: int) -> bool:
        """Say whether a host (canonical) may be asked at all."""
        return any(pattern.fits(host, port) for pattern in self._patterns)

    def allows_address(self, host: str, address: Address, port: int) -> bool:
        """Say whether the host may be asked at this address."""
        address = _plain(address)
        if _is_public(address):
            return True
        if host == "localhost" and address.is_loopback:
            # Only its own pattern can have let it in: `*` names nothing.
            return any(one.host == host and one.fits(host, port) for one in self._patterns)
        return any(one.address == address and one.port in (None, port) for one in self._patterns)


def canonical(host: str) -> str:
    """Return a host in the one way in which it is compared."""
    host = host.strip("[]").rstrip(".").lower()
    literal = _literal(host)
    return str(literal) if literal is not None else host


def _literal(host: str) -> Address | None:
    try:
        return _plain(ip_address(host))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv4Address):
        return True
    inside = [address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inside.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return all(one is None or _is_public(one) for one in inside) and not address.is_site_local
