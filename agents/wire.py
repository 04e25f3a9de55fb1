"""The HTTP transport below the Ollama client: what the client itself cannot do.

It can be hung up from another thread, even while the server is silent, and it escapes the letters
at which httpx would cut a JSON line in two.

Invariant: one wire carries one request; after `hang_up` it carries nothing more.
"""

from __future__ import annotations

import functools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx

__all__ = ["LONGEST_REPLY", "Wire", "escape_line_ends"]

# httpx takes these for line ends; inside JSON they can only stand in strings, where Ollama's
# server leaves the first one as it is.
_ESCAPES = {b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}
#: Bytes of a reply after which the server is taken to be out of its mind; a token takes about 150.
LONGEST_REPLY = 64_000_000
_BEGINNINGS = (b"\xe2\x80", b"\xe2", b"\xc2")


class Wire(httpx.BaseTransport):
    """One connection to one server, which any thread can cut. It uses no proxy.

    `may_send` is asked when the connection stands; if it says no, nothing is sent. With `lines` false
    what comes is left as it is.
    """

    def __init__(self, may_send: Callable[[], bool] = lambda: True, *, lines: bool = True) -> None:
        self._may_send = may_send
        self._lines = lines
        self._inner = httpx.HTTPTransport(verify=_certificates())
        self._socket: socket.socket | None = None
        self._hung_up = False
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the socket is noted as soon as there is one."""
        request.extensions["trace"] = self._note
        response = self._inner.handle_request(request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        if self._lines:
            response.stream = _Escaped(response.stream)
        return response

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def hang_up(self) -> None:
        """Cut the connection now, or at the moment when it is made."""
        with self._lock:
            self._hung_up = True
            found = self._socket
        if found is not None:
            _shut(found)

    def _note(self, event: str, info: dict[str, Any]) -> None:
        if event not in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            return
        found = info["return_value"].get_extra_info("socket")
        wanted = self._may_send()
        with self._lock:
            self._socket = found
            hung_up = self._hung_up or not wanted
        if hung_up:
            _shut(found)


class _Escaped(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return escape_line_ends(self._limited())

    def _limited(self) -> Iterator[bytes]:
        left = LONGEST_REPLY
        for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise httpx.RemoteProtocolError(f"it is longer than {LONGEST_REPLY:,} bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def escape_line_ends(chunks: httpx.SyncByteStream | Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of JSON lines with every line end but the newline escaped."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        held = next((end for end in _BEGINNINGS if data.endswith(end)), b"")
        data = data[: len(data) - len(held)]
        for raw, escaped in _ESCAPES.items():
            data = data.replace(raw, escaped)
        if data:
            yield data
    if held:
        yield held


def _shut(connection: socket.socket) -> None:
    # Closing would not wake a thread that is reading; and a TLS socket's own shutdown would
    # change it under that thread's hands.
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # It is closed already.


@functools.cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
