"""`http_get`: a text from an allowed host.

Invariants
  * The connection goes to the very address that was checked; the name is looked up once.
  * Every redirect is checked as the first address was.
  * Whatever the server does, the call ends in time, and takes no more than it may.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import httpx

from agents.errors import ToolFailed, ToolRefused
from agents.tool import uses_network
from agents.tools.files import from_start
from agents.tools.hosts import Address, AllowedHosts, canonical
from agents.wire import Wire

__all__ = ["Resolve", "WebReader", "look_up"]

#: Given a host and a port: its addresses.
Resolve = Callable[[str, int], Sequence[str]]

_MOST_REDIRECTS = 3
_LONGEST_URL = 2000
_CONNECT_SECONDS = 5.0
_LAST_PORT = 65_535
_PORTS = {"http": 80, "https": 443}
_HEADERS = {"accept": "text/*, application/json;q=0.9, */*;q=0.1", "accept-encoding": "identity"}


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))


@dataclass(frozen=True)
class _Target:
    url: httpx.URL
    host: str
    addresses: tuple[Address, ...]


class WebReader:
    """Gets texts of at most `largest` bytes from allowed hosts, each within `seconds`."""

    def __init__(
        self, hosts: AllowedHosts, largest: int, seconds: float, resolve: Resolve = look_up
    ) -> None:
        self._hosts = hosts
        self._largest = largest
        self._seconds = seconds
        self._resolve = resolve

    @uses_network
    def http_get(self, url: str, start: int = 0) -> str:
        """Get a text from the web by HTTP GET.

        Args:
            url: Its address, beginning with https:// or http://.
            start: The letter to begin at.
        """
        until = time.monotonic() + self._seconds
        asked = _parsed(url)
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._hop(self._checked(asked), until)
            if isinstance(answer, str):
                return from_start(answer, start)
            asked = answer
        raise ToolRefused(f"{url[:200]} redirects more than {_MOST_REDIRECTS} times")

    def _checked(self, url: httpx.URL) -> _Target:
        """Return where a URL leads, if everything on the way is allowed."""
        if url.scheme not in _PORTS:
            raise ToolRefused(
                f"{url.scheme or 'no scheme'!r} is not allowed: only http and https are"
            )
        if url.userinfo:
            raise ToolRefused("a URL may not carry a user or password")
        host, port = canonical(url.raw_host.decode("ascii")), url.port or _PORTS[url.scheme]
        if not host or not self._hosts.allows(host, port):
            raise ToolRefused(f"the host {host!r:.120} (port {port}) is not among tools.hosts")
        try:
            found = tuple(ip_address(one) for one in self._resolve(host, port))
        except (OSError, UnicodeError, ValueError) as error:
            raise ToolFailed(f"the host {host!r:.120} is not known: {error}") from None
        for address in found:
            if not self._hosts.allows_address(host, address, port):
                raise ToolRefused(
                    f"the host {host!r:.120} leads to {address}, which is not a public address"
                )
        if not found:
            raise ToolFailed(f"the host {host!r:.120} has no address")
        return _Target(url, host, found)

    def _hop(self, target: _Target, until: float) -> str | httpx.URL:
        fault = ToolFailed(f"there was no time left for {target.host}")
        for address in target.addresses:
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                found = self._asked(target, address, left)
            except httpx.ConnectError as error:
                fault = ToolFailed(f"{target.host} cannot be reached: {error}")
            except httpx.TimeoutException:
                fault = ToolFailed(f"{target.host} did not answer in time")
            except httpx.HTTPError as error:
                late = until - time.monotonic() <= 0
                words = (
                    f"did not answer within {self._seconds:g} s" if late else f"broke off: {error}"
                )
                raise ToolFailed(f"{target.host} {words}") from None
            else:
                if time.monotonic() >= until:
                    # What was hung up on may look as if it had come to its end.
                    raise ToolFailed(f"{target.host} did not end within {self._seconds:g} s")
                return found
        raise fault

    def _asked(self, target: _Target, address: Address, seconds: float) -> str | httpx.URL:
        wire = Wire(lines=False)
        # Limits between two bytes would let a slow server go on for ever.
        watch = threading.Timer(seconds, wire.hang_up)
        watch.daemon = True
        watch.start()
        limits = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
        try:
            # No proxies and no passwords of the environment.
            with httpx.Client(transport=wire, timeout=limits, trust_env=False) as client:
                request = client.build_request(
                    "GET",
                    target.url.copy_with(host=str(address), fragment=None),
                    headers={**_HEADERS, "host": target.url.netloc.decode("ascii")},
                    extensions={"sni_hostname": target.host},
                )
                response = client.send(request, stream=True, follow_redirects=False)
                try:
                    return self._read(target, response)
                finally:
                    response.close()
        finally:
            watch.cancel()

    def _read(self, target: _Target, response: httpx.Response) -> str | httpx.URL:
        if response.has_redirect_location:
            try:
                return target.url.join(_parsed(response.headers["location"]))
            except httpx.InvalidURL as error:
                raise ToolFailed(f"{target.host} redirects to no address: {error}") from None
        if not response.is_success:
            raise ToolFailed(f"{target.host} answers {response.status_code}")
        if (coding := response.headers.get("content-encoding", "identity")) != "identity":
            raise ToolRefused(f"{target.host} answers in {coding[:40]!r}, which was not asked for")
        announced = response.headers.get("content-length", "")
        content = b""
        too_large = announced.isdecimal() and int(announced[:20]) > self._largest
        if not too_large:
            for chunk in response.iter_raw():
                content += chunk
                if too_large := len(content) > self._largest:
                    break
        if too_large:
            raise ToolRefused(f"{target.host} answers with more than {self._largest} bytes")
        return _text(content, response.charset_encoding, target.host)


def _parsed(url: str) -> httpx.URL:
    if len(url) > _LONGEST_URL or any(letter <= " " or letter == "\\" for letter in url):
        raise ToolRefused(f"{url[:80]!r} is no URL: it is too long or has letters that no URL has")
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ToolRefused(f"{url[:80]!r} is no URL: {error}") from None
    if (found.port or 0) > _LAST_PORT:
        raise ToolRefused(f"{url[:80]!r} is no URL: its port is too high")
    return found


def _text(content: bytes, charset: str | None, host: str) -> str:
    try:
        text = content.decode(charset or "utf-8")
    except (LookupError, UnicodeError):
        raise ToolFailed(f"what {host} answers is no text") from None
    if "\0" in text:
        raise ToolFailed(f"what {host} answers is no text")
    return text
