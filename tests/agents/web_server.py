"""A web server in a thread whose pages are functions of the test."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Page = Callable[[BaseHTTPRequestHandler], None]


def said(text: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Page:
    """Return a page that says this."""
    content = text.encode() if isinstance(text, str) else text

    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return page


def moved(location: str, status: int = 302) -> Page:
    """Return a page that is somewhere else."""
    return said("moved", status, {"location": location})


class WebServer:
    """Says the `pages` by their path on a port of this machine; `asked` are paths and host headers.

    With a `certificate` (a file that holds the key too) it speaks TLS.
    """

    def __init__(
        self, pages: Mapping[str, Page] | None = None, *, certificate: Path | None = None
    ) -> None:
        self.pages = dict(pages or {})
        self.asked: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.stopping = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers["host"]))
                server.headers.append(dict(self.headers.items()))
                self.close_connection = True
                try:
                    server.pages.get(self.path.partition("?")[0], said("no such page", 404))(self)
                except OSError:
                    return

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
