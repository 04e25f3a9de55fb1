"""A model server that answers at once, and remembers when it was asked what."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class AnsweringModel:
    """Ollama's protocol on a free port: every chat is answered with one sentence, streamed.

    `say` may answer otherwise, given the body of the chat. `asked` holds (moment, last words of the
    prompt) of every chat; moments are of `time.time`.
    """

    def __init__(
        self, seconds: float = 0.05, say: Callable[[dict[str, Any]], str] = lambda _: "It is so."
    ) -> None:
        self.asked: list[tuple[float, str]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                self._say({"version": "0.12.0", "models": [{"name": "m", "model": "smollm2:135m"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path != "/api/chat":
                    self._say({"model_info": {}, "capabilities": ["completion"]})
                    return
                words = "\n".join(message["content"] for message in body.get("messages", []))
                model.asked.append((time.time(), words))
                time.sleep(seconds)
                start = {"model": body["model"], "message": {"role": "assistant"}}
                text = {**start, "message": {"role": "assistant", "content": say(body)}}
                counts = {"prompt_eval_count": 10, "eval_count": 3}
                self._say(
                    {**text, "done": False},
                    {**start, "message": {"role": "assistant", "content": ""}, "done": True,
                     "done_reason": "stop", **counts},
                )  # fmt: skip

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
