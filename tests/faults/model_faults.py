"""A model server with everything that can be wrong with one, switched while it works.

Invariant: whatever it is switched to holds for calls that are under way as well.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MODEL = "smollm2:135m"
PLAN = {
    "1": {"action": "Collect the facts about the mill", "agent": "researcher", "needs": []},
    "2": {"action": "Compare the visitors of both years", "agent": "analyst", "needs": [1]},
    "3": {"action": "Write the report about the mill", "agent": "writer", "needs": [2]},
}


class Mood(Enum):
    """How the server behaves."""

    WELL = auto()
    HANGS = auto()
    """Accepts every connection and says nothing."""
    FULL = auto()
    """Answers 503, whatever it is asked."""
    CUTS = auto()
    """Begins its answers and breaks the connection; everything else is well."""
    PROSE = auto()
    """Answers in words, also where JSON was asked for; everything else is well."""


class FaultyModel:
    """Ollama's protocol on one port, over any number of deaths.

    Attributes:
        mood: How it behaves now.
        words: How many parts an answer has, one every `pause` seconds.
        asked: The last message of every chat.
        busiest: The most chats that were under way at once.
        loads: How often the model was to be loaded.
        missing: Whether it does not have the model until it is pulled.
    """

    def __init__(self, words: int = 3, pause: float = 0.02) -> None:
        self.mood = Mood.WELL
        self.words, self.pause = words, pause
        self.asked: list[str] = []
        self.busiest = self.loads = 0
        self.missing = False
        self.pull_may_end = threading.Event()
        self.port = 0
        self.under_way = 0
        self.lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def reserve(self) -> None:
        """Find a port, and leave it without a server."""
        self.start()
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would: nobody is told anything."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.break_off()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, model: FaultyModel) -> None:
        self.model = model
        self.dead = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", model.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients are broken off here."""

    def break_off(self) -> None:
        self.dead.set()
        for connection in tuple(self._open):
            reset(connection)


def reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: _Server

    def do_GET(self) -> None:
        self._in_mood(lambda body: self._say(self._facts()))

    def do_POST(self) -> None:
        answers: dict[str, Callable[[Any], None]] = {
            "/api/chat": self._chat,
            "/api/generate": self._load,
            "/api/pull": self._pull,
            "/api/show": lambda body: self._say(
                {"model_info": {"llama.context_length": 8192}, "capabilities": ["completion"]}
            ),
        }
        self._in_mood(answers[self.path])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _in_mood(self, answer: Callable[[Any], None]) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        mood = self.server.model.mood
        while self.server.model.mood is Mood.HANGS and not self.server.dead.wait(0.02):
            continue
        if mood is Mood.FULL:
            self._say({"error": "server busy, please try again"}, status=503)
        elif mood is not Mood.HANGS:
            answer(body)

    def _facts(self) -> dict[str, Any]:
        entry = {"name": MODEL, "model": MODEL, "context_length": 4096}
        models = [] if self.server.model.missing else [entry]
        return {"version": "0.33.0", "models": models}

    def _say(self, *lines: dict[str, Any], status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        for values in lines:
            self.wfile.write(json.dumps(values).encode() + b"\n")

    def _pull(self, body: Any) -> None:
        part = {"status": "pulling x", "digest": "x", "total": 100}
        self._say({"status": "pulling manifest"}, {**part, "completed": 40})
        self.server.model.pull_may_end.wait(30)
        self.server.model.missing = False
        for line in ({**part, "completed": 100}, {"status": "success"}):
            self.wfile.write(json.dumps(line).encode() + b"\n")

    def _load(self, body: Any) -> None:
        self.server.model.loads += 1
        self._say({"model": MODEL, "response": "", "done": True, "done_reason": "load"})

    def _chat(self, body: dict[str, Any]) -> None:
        model = self.server.model
        with model.lock:
            model.asked.append(body["messages"][-1]["content"])
            model.under_way += 1
            model.busiest = max(model.busiest, model.under_way)
        try:
            self._answer(body)
        finally:
            with model.lock:
                model.under_way -= 1

    def _answer(self, body: dict[str, Any]) -> None:
        model = self.server.model
        planned = body.get("format") and model.mood is not Mood.PROSE
        text = json.dumps(PLAN) if planned else "It is so. " * model.words
        size = max(1, len(text) // model.words)
        self._say()
        for piece in re.findall(f"(?s).{{1,{size}}}", text):
            if self.server.dead.wait(model.pause):
                return
            self._line({"role": "assistant", "content": piece}, done=False)
            if model.mood is Mood.CUTS:
                reset(self.connection)
                return
        counts = {"prompt_eval_count": 10, "eval_count": model.words}
        self._line({"role": "assistant", "content": ""}, done=True, done_reason="stop", **counts)

    def _line(self, message: dict[str, str], **values: Any) -> None:
        line = {"model": MODEL, "message": message, **values}
        self.wfile.write(json.dumps(line).encode() + b"\n")
        self.wfile.flush()
