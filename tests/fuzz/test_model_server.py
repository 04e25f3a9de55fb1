"""A model server that says anything: each call ends with a reply or with one error of ours."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import agents.wire
from agents.errors import AgentError, IncompleteReply
from agents.model import ChatRequest, Message
from agents.ollama import Limits, OllamaModel
from tests.fuzz.doors import fuzzed

REQUEST = ChatRequest("m", (Message("user", "hello"),))
LINE = b'{"model": "m", "message": {"role": "assistant", "content": "a"}, "done": false}\n'
LAST = b'{"model": "m", "message": {"role": "assistant", "content": "b"}, "done": true}\n'


@contextmanager
def server(body: Iterator[bytes], head: bytes) -> Iterator[str]:
    """Serve one connection with these bytes; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(head)
                    for chunk in body:
                        connection.sendall(chunk)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"

junk = st.sampled_from(
    [
        LINE, LAST, LAST.strip(), b"\n", b"null\n", b"[]\n", b"5\n", b'"x"\n', b"{}\n", b"\xff\xfe\n", b"\0",
        b"[" * 5000 + b"\n", b'{"done": true}\n', b'{"error": "x"}\n', b'{"error": 5}\n',
        b'{"message": 5, "done": true}\n', b'{"message": {"content": 5}}\n', LAST.replace(b"true", b'"x"'),
        json.dumps({"message": {"role": "x", "content": "\0\ud800"}, "done": True}).encode() + b"\n",
        LAST.replace(b"}\n", b', "eval_count": "x"}\n'), LAST.replace(b"}\n", b', "eval_count": -1}\n'),
        LAST.replace(b"}\n", b', "done_reason": 5}\n'), LINE[:20], "\u2028".encode(), b"x" * 100_000,
        b'{"eval_count": ' + b"9" * 5000 + b"}\n",
    ]
) | st.binary(max_size=30)  # fmt: skip


# Each failed call asks once more whether the server is still there, which takes a second.
@settings(fuzzed, max_examples=max(8, fuzzed.max_examples // 20))
@given(
    st.lists(junk, max_size=6), st.sampled_from([OK, b"HTTP/1.1 500 x\r\n\r\n", b"x\r\n\r\n", b""])
)
@example([LINE, b"[" * 100_000 + b"\n"], OK)
@example([LINE, LAST], OK)
def test_whatever_a_server_says(said: list[bytes], head: bytes) -> None:
    with server(iter(said), head) as host:
        model = OllamaModel([host], limits=Limits(connect=2, first=3, silence=3, total=10))
        try:
            reply = model.chat(REQUEST)
        except AgentError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
        else:
            assert LAST.strip() in b"".join(said) or b"done" in b"".join(said)
            assert isinstance(reply.text, str)


def test_a_reply_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents.wire, "LONGEST_REPLY", 1_000_000)
    endless = iter(lambda: b"x" * 65536, b"")
    with server(endless, OK) as host:
        model = OllamaModel([host], limits=Limits(connect=2, first=20, silence=20, total=30))
        with pytest.raises(IncompleteReply, match="longer than 1,000,000 bytes"):
            model.chat(REQUEST)
