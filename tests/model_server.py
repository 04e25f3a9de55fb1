"""Ollama's protocol on a free port, for servers that answer chats as their tests say."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["ModelServer", "streamed"]


class ModelServer(ABC):
    """Knows one model, at `address`."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    @abstractmethod
    def chat(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the lines of the answer to a chat; called from many threads."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def streamed(model: str, text: str, **end: Any) -> list[dict[str, Any]]:
    """Return the lines of an answer of one piece, with what its end tells of it."""
    said = {"model": model, "message": {"role": "assistant", "content": text}, "done": False}
    over = {"model": model, "message": {"role": "assistant", "content": ""}}
    return [said, {**over, "done": True, "done_reason": "stop", **end}]


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._say({"version": "0.12.0", "models": [{"name": "m", "model": "smollm2:135m"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/api/chat" and body.get("messages"):
                self._say(*server.chat(body))
            else:
                # What the model is, or a chat without words that only loads it.
                self._say({"model_info": {}, "capabilities": ["completion"], "done": True})

        def _say(self, *lines: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/x-ndjson")
            self.end_headers()
            self.wfile.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
