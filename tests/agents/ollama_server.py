"""A server that says over real connections what a test has written, in the way of Ollama.

It answers every request, whatever its path, with the next `Answer` of its script, and keeps the
requests. Invariant: it never ends an answer by a clock; it waits until the test says so or the
client hangs up. A client that leaves a connection open fails the test.
"""

from __future__ import annotations

import json
import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Self

_TICK_SECONDS = 0.005
_PATIENCE_SECONDS = 2.0


class End(Enum):
    """Ways in which an answer can go wrong on the line."""

    SILENCE = auto()
    """Nothing more is said; the connection stays open."""
    CUT = auto()
    """The connection is closed before the answer is whole."""
    RESET = auto()
    """The same, as by a process that is killed."""


@dataclass(frozen=True)
class Until:
    """Waits until an event is set."""

    event: threading.Event


@dataclass(frozen=True)
class Reached:
    """Sets an event when the answer has come so far."""

    event: threading.Event


@dataclass(frozen=True)
class Forever:
    """Says the same again and again."""

    line: bytes


Step = bytes | End | Until | Reached | Forever


@dataclass(frozen=True)
class Answer:
    """What is said, step by step. With status None not even the headers are sent."""

    steps: tuple[Step, ...] = ()
    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request as it came in; `body` is what its JSON says."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


def line(**values: Any) -> bytes:
    """Return one line of JSON, as Go writes it: letters beyond ASCII as they are."""
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def part(text: str) -> bytes:
    """Return a part of a streamed answer."""
    return line(model="m", message={"role": "assistant", "content": text}, done=False)


def done(text: str = "", reason: str | None = "stop", **counts: int) -> bytes:
    """Return the last line of an answer; counts that are not given are missing, as with Go."""
    more = counts if reason is None else {"done_reason": reason, **counts}
    return line(model="m", message={"role": "assistant", "content": text}, done=True, **more)


def whole(*texts: str, **counts: int) -> Answer:
    """Return an answer that is as it should be."""
    return Answer((*map(part, texts), done("", "stop", **counts)))


def refusal(status: int, error: Any) -> Answer:
    """Return Ollama's answer to a request that it does not fulfil."""
    return Answer((line(error=error),), status, {"content-type": "application/json"})


class OllamaServer:
    """Answers from a script, one answer for each request, on a free port of this machine.

    `gone` gets the moment (of `time.monotonic`) at which a client hung up in mid-answer.
    """

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[Asked] = []
        self.gone: queue.Queue[float] = queue.Queue()
        self.stopping = threading.Event()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        for answer in answers:
            self._answers.put(answer)
        self._listener = _Listener(self)
        self.host = f"127.0.0.1:{self._listener.server_address[1]}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        left_open = not self._listener.wait_until_idle(_PATIENCE_SECONDS)
        self.stopping.set()
        self._listener.shutdown()
        self._listener.hang_up()
        self._listener.server_close()
        self._thread.join()
        assert kind is not None or not left_open, "a client left its connection open"

    def next_answer(self, asked: Asked) -> Answer:
        """Note a request, and return what is to be said to it."""
        self.requests.append(asked)
        try:
            return self._answers.get_nowait()
        except queue.Empty:
            return refusal(500, "the script has no more answers")


class _Listener(ThreadingTCPServer):
    daemon_threads = False

    def __init__(self, script: OllamaServer) -> None:
        self.script = script
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._changed:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()
        super().shutdown_request(request)

    def wait_until_idle(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, seconds)

    def hang_up(self) -> None:
        with self._changed:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, json.loads(text) if text else None)
        try:
            self._say(self.server.script.next_answer(asked))
        except OSError:
            self._client_went()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *args: object) -> None:
        return

    def _say(self, answer: Answer) -> None:
        if answer.status is not None:
            self.send_response(answer.status)
            kind = {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"}
            for name, value in {**kind, **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
        for step in answer.steps:
            if not self._take(step):
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def _take(self, step: Step) -> bool:
        """Do one step; return whether the answer goes on."""
        if isinstance(step, bytes):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(step), step))
            return True
        if isinstance(step, Reached):
            step.event.set()
            return True
        if isinstance(step, Until):
            return self._wait(step.event)
        if isinstance(step, Forever):
            while self._is_heard():
                self._take(step.line)
            return False
        if step is End.SILENCE:
            return self._wait(threading.Event())
        if step is End.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return False

    def _wait(self, event: threading.Event) -> bool:
        while not event.is_set():
            if not self._is_heard():
                return False
        return True

    def _is_heard(self) -> bool:
        if self.server.script.stopping.is_set():
            return False
        readable, _, _ = select.select([self.connection], [], [], _TICK_SECONDS)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            self._client_went()
            return False
        return True

    def _client_went(self) -> None:
        self.close_connection = True
        self.server.script.gone.put(time.monotonic())
