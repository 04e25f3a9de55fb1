"""A receiver of spans by OTLP over HTTP, which keeps what it is sent and may be told to refuse."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was received; ids are hexadecimal, `parent` is empty for the root."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    begin: int
    end: int
    bad: bool
    attributes: dict[str, Any]
    links: tuple[str, ...]
    service: str


class Receiver:
    """Takes spans on a free port of this machine.

    `refusing` makes it answer 503. `raw` is everything that it was sent.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.raw = b""
        self.refused = 0
        self.refusing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                refused = receiver.refusing.is_set() or self.path != "/v1/traces"
                if refused:
                    receiver.refused += 1
                else:
                    receiver.keep(body)
                self.send_response(503 if refused else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keep(self, body: bytes) -> None:
        """Keep the spans of a request."""
        self.raw += body
        request = ExportTraceServiceRequest.FromString(body)
        for per_resource in request.resource_spans:
            service = _values(per_resource.resource.attributes)["service.name"]
            for per_scope in per_resource.scope_spans:
                self.spans += [_read(span, service) for span in per_scope.spans]

    def of(self, trace: str) -> list[Span]:
        """Return the spans of a trace, however often each was sent."""
        return [span for span in self.spans if span.trace == trace]


def _read(span: Any, service: str) -> Span:
    return Span(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        bad=span.status.code == 2,
        attributes=_values(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
        service=service,
    )


def _values(attributes: Any) -> dict[str, Any]:
    found = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        found[one.key] = getattr(one.value, kind)
    return found
