"""A model server that answers as a test says, and says how long it took."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: What the server says of each call: nanoseconds, and tokens.
READING, WRITING = 40_000_000, 20_000_000
PROMPT_TOKENS, GENERATED_TOKENS = 10, 3
COLD, WARM = 900_000_000, 12_000_000


class MeasuredModel:
    """Ollama's protocol on a free port.

    `answer` is given all words of a chat and how many chats there were before. Only the first chat has to
    load the model. Each takes `seconds`.
    """

    def __init__(self, answer: Callable[[str, int], str], seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self) -> None:
                self._say({"version": "0.12.0", "models": [{"name": "m", "model": "smollm2:135m"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path != "/api/chat" or not body.get("messages"):
                    self._say({"model_info": {}, "capabilities": ["completion"], "done": True})
                    return
                words = "\n".join(message["content"] for message in body["messages"])
                with lock:
                    number = len(model.asked)
                    model.asked.append(words)
                time.sleep(seconds)
                self._say(*_lines(body["model"], answer(words, number), number))

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


def _lines(model: str, text: str, number: int) -> list[dict[str, Any]]:
    end = {
        "done": True,
        "done_reason": "stop",
        "load_duration": WARM if number else COLD,
        "prompt_eval_count": PROMPT_TOKENS,
        "prompt_eval_duration": READING,
        "eval_count": GENERATED_TOKENS,
        "eval_duration": WRITING,
    }
    return [
        {"model": model, "message": {"role": "assistant", "content": text}, "done": False},
        {"model": model, "message": {"role": "assistant", "content": ""}, **end},
    ]
