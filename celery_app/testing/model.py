"""`StandIn`: a server that speaks Ollama's protocol and stands where a model would.

It answers by rules, from a cassette, or with what a real server says, which it may record; and it can
be told to misbehave.

Invariant: it makes nothing up. A question for which there is no answer is an error that says so, and is
kept in `unanswered`.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from celery_app.testing.cassette import Cassette, digest_of, question_of
from celery_app.testing.suite import Rule
from workflows.problem import shown

__all__ = ["Behind", "Replayed", "Scripted", "Source", "StandIn", "Unanswered", "spoken"]

VERSION = "0.33.0"
#: Where tests tell it how to behave: `{"mode": "stall"}`.
MODE_PATH = "/test/mode"
_COUNTS = ("prompt_eval_count", "eval_count")
_WINDOW = 4096
_TICK = 0.05


class Unanswered(Exception):
    """There is no answer to a question; the words say what to do."""


class Source(Protocol):
    """Where answers come from."""

    def answer(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        """Yield the lines of an answer. Raises `Unanswered`."""
        ...

    def close(self) -> None:
        """Let go of what answers were taken from."""


class Scripted:
    """Answers by rules: the first whose expression is found in the last message, or in what is embedded.

    Args:
        rules: The rules.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(re.compile(rule.when, re.DOTALL), rule) for rule in rules]

    def answer(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        """Yield the answer of the first rule that fits."""
        if path == "/api/embed":
            given = body.get("input", "")
            texts = [given] if isinstance(given, str) else given
            return iter([_line({"embeddings": [self._embedding(text) for text in texts]})])
        words = str((body.get("messages") or [{}])[-1].get("content", ""))
        for pattern, rule in self._rules:
            if rule.embedding is None and pattern.search(words):
                text = rule.answer if isinstance(rule.answer, str) else json.dumps(rule.answer)
                counts = {
                    "prompt_eval_count": len(words) // 4 + 1,
                    "eval_count": len(text) // 4 + 1,
                }
                return spoken(body, {"message": {"content": text}, **counts})
        raise Unanswered(f"no rule of the scripted model fits {question_of(body)}: add one")

    def _embedding(self, text: str) -> list[float]:
        for pattern, rule in self._rules:
            if rule.embedding is not None and pattern.search(text):
                return rule.embedding
        raise Unanswered(
            f"no rule of the scripted model has an `embedding` for {shown(text[-60:])}: "
            "add one, or take a real or a recorded model"
        )

    def close(self) -> None:
        """Nothing is held."""


class Replayed:
    """Answers from a cassette.

    Args:
        cassette: The cassette.
    """

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette

    def answer(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        """Yield the recorded answer."""
        found = self._cassette.find(path, body)
        if found is None:
            raise Unanswered(
                f"{self._cassette.path} has no answer to {question_of(body)} "
                f"({digest_of(path, body)[:12]}): record it again with --record"
            )
        return spoken(body, found) if path == "/api/chat" else iter([_line(found)])

    def close(self) -> None:
        """Nothing is held."""


class Behind:
    """Answers with what a real server says, and records it if there is a cassette.

    Args:
        url: The real server.
        cassette: Where its answers are recorded.
    """

    def __init__(self, url: str, cassette: Cassette | None = None) -> None:
        self._client = httpx.Client(base_url=url, timeout=httpx.Timeout(600, connect=5))
        self._cassette = cassette

    def answer(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        """Yield what the server says, line by line as it comes."""
        said: list[dict[str, Any]] = []
        with self._client.stream("POST", path, json=body) as response:
            if response.status_code != httpx.codes.OK:
                response.read()
                raise Unanswered(f"the model server says {response.status_code} {response.text}")
            for line in response.iter_lines():
                if line.strip():
                    said.append(json.loads(line))
                    yield _line(said[-1])
        if self._cassette is not None and said and "error" not in said[-1] and _asks(path, body):
            self._cassette.record(path, body, _gathered(said) if path == "/api/chat" else said[-1])

    def look(self, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Return what the server says to anything else."""
        response = self._client.request("GET" if body is None else "POST", path, json=body)
        return response.status_code, response.content

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class StandIn:
    """A model server of a test's own on a free port of this machine.

    Args:
        source: Where its answers come from.
        models: The models that it says it has.
        capabilities: What it says that each can.

    Attributes:
        asked: What it was asked, as (path, body).
        unanswered: What it had no answer to, in words.
    """

    def __init__(
        self,
        source: Source,
        models: Sequence[str] = (),
        capabilities: Sequence[str] = ("completion", "tools"),
    ) -> None:
        self.source = source
        self.models = list(models)
        self.capabilities = list(capabilities)
        self.mode = "heal"
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.unanswered: list[str] = []
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def address(self) -> str:
        """Host and port, as `components.ollama.hosts` takes them."""
        return self.url.removeprefix("http://")

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(_TICK,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.mode = "stop"
        self._server.shutdown()
        self._server.server_close()
        self.source.close()

    def look(self, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Return status and answer to what is no question to a model."""
        if path == MODE_PATH:
            self.mode = str((body or {}).get("mode"))
            return 200, _line({"mode": self.mode})
        if isinstance(self.source, Behind):
            return self.source.look(path, body)
        entries = [{"name": name, "model": name, "context_length": _WINDOW} for name in self.models]
        described = {"model_info": {}, "capabilities": self.capabilities, "done": True}
        return 200, _line({"version": VERSION, "models": entries, **(described if body else {})})


class _Server(ThreadingHTTPServer):
    """The server; a client that hangs up is no fault."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of faults, but not of clients that have gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.0"
    stand_in: StandIn

    def do_GET(self) -> None:
        """Tell what is here."""
        if self.stand_in.mode != "stop":
            self._begin(*self.stand_in.look(self.path, None))

    def do_POST(self) -> None:
        """Answer, or misbehave as told."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == MODE_PATH:
            self._begin(*self.stand_in.look(self.path, body))
        elif self.stand_in.mode == "stop":
            return
        elif not _asks(self.path, body):
            self._begin(*self.stand_in.look(self.path, body))
        else:
            self._answer(body)

    def _answer(self, body: dict[str, Any]) -> None:
        stand_in = self.stand_in
        stand_in.asked.append((self.path, body))
        waiting = threading.Event()
        while stand_in.mode == "stall":
            waiting.wait(_TICK)
        if stand_in.mode == "corrupt":
            self._begin(200, b'{"message": {"content": "It is\x00 \xff\n')
            return
        try:
            lines = stand_in.source.answer(self.path, body)
            first = next(lines)
        except (Unanswered, httpx.HTTPError) as error:
            stand_in.unanswered.append(str(error))
            # No passing fault: nobody is to ask again.
            self._begin(400, _line({"error": str(error)}))
            return
        self._begin(200, first)
        for line in lines:
            self.wfile.write(line)

    def _begin(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _asks(path: str, body: dict[str, Any]) -> bool:
    """Whether a request asks something; a chat without messages only loads the model."""
    return (path == "/api/chat" and bool(body.get("messages"))) or path == "/api/embed"


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def spoken(body: dict[str, Any], answer: dict[str, Any]) -> Iterator[bytes]:
    """Yield an answer as a server streams it."""
    start = {"model": body.get("model", ""), "done": False}
    message = {"role": "assistant", **answer["message"]}
    end = {
        "done": True,
        "done_reason": "stop",
        **answer,
        "message": {"role": "assistant", "content": ""},
    }
    return iter([_line({**start, "message": message}), _line({**start, **end})])


def _gathered(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the lines of a streamed answer as one."""
    messages = [line.get("message") or {} for line in said]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    content = "".join(message.get("content") or "" for message in messages)
    counts = {key: said[-1][key] for key in _COUNTS if key in said[-1]}
    message = {"content": content, **({"tool_calls": calls} if calls else {})}
    return {"message": message, "done_reason": said[-1].get("done_reason", "stop"), **counts}
