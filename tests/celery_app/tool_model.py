"""A model server that can call tools: every chat is answered as a function of the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: Given the body of a chat: the answer in words, or the calls as (name, arguments).
Decide = Callable[[dict[str, Any]], str | list[tuple[str, dict[str, Any]]]]


class ToolModel:
    """Ollama's protocol on a free port. `asked` are the bodies of all chats."""

    def __init__(self, decide: Decide) -> None:
        self.asked: list[dict[str, Any]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                self._say({"version": "0.12.0", "models": [{"name": "m", "model": "m:latest"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path != "/api/chat" or not body.get("messages"):
                    self._say(
                        {"model_info": {}, "capabilities": ["completion", "tools"], "done": True}
                    )
                    return
                model.asked.append(body)
                decided = decide(body)
                message: dict[str, Any] = {"role": "assistant", "content": ""}
                if isinstance(decided, str):
                    message["content"] = decided
                else:
                    message["tool_calls"] = [
                        {"function": {"name": name, "arguments": given}} for name, given in decided
                    ]
                start = {"model": body["model"], "done": False}
                end = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}
                self._say(
                    {**start, "message": message},
                    {**start, **end, "message": {"role": "assistant"}},
                )

            def _say(self, *lines: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/x-ndjson")
                self.end_headers()
                self.wfile.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

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
