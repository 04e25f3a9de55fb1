"""The embedded model server, asked by the official client and by bare HTTP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama
import psutil
import pytest

import celery_app
from celery_app.errors import ConfigurationError
from celery_app.stack.llama import LlamaServer
from celery_app.stack.processes import wait_until
from celery_app.stack.weights import SHA256, Weights

pytestmark = pytest.mark.model

MODEL = "smollm2:135m"
SLOTS = 2
QUEUE = 2
START = f"""
import sys
from pathlib import Path
from celery_app.stack.llama import LlamaServer
LlamaServer(Path(sys.argv[1]), slots={SLOTS}, queue={QUEUE}).start()
"""
HELLO = [{"role": "user", "content": "Say hello."}]
COLOUR = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["colour", "count"],
}
# A count that goes on: about a minute of work, far longer than any of these tests waits.
ENDLESS = {
    "model": MODEL,
    "prompt": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,",
    "raw": True,
    "options": {"temperature": 0, "num_predict": 3500},
}


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LlamaServer]:
    """A server whose starter has ended already."""
    server = LlamaServer(home, slots=SLOTS, queue=QUEUE)
    project = Path(celery_app.__path__[0]).parent
    try:
        subprocess.run([sys.executable, "-c", START, str(home)], cwd=project, check=True)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def client(server: LlamaServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.address, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: LlamaServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=30) as http:
        yield http


@contextmanager
def endless(server: LlamaServer) -> Iterator[None]:
    """A generation that is writing, and is hung up at the end."""
    with (
        httpx.Client(base_url=server.address, timeout=30) as http,
        http.stream("POST", "/api/generate", json=ENDLESS) as response,
    ):
        lines = response.iter_lines()
        assert json.loads(next(lines))["done"] is False
        yield


def is_idle(server: LlamaServer) -> Callable[[], bool]:
    """Return a question: has the server used no processor time since the last question?"""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    last = [process.cpu_times().user, time.monotonic()]

    def ask() -> bool:
        used, now = process.cpu_times().user, time.monotonic()
        if now - last[1] < 0.2:
            return False
        idle = used - last[0] < 0.1 * (now - last[1])
        last[:] = [used, now]
        return idle

    return ask


def said(reply: ollama.ChatResponse) -> str:
    return reply.message.content or ""


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(ollama.ResponseError) as caught:
        call()
    return caught.value.status_code, caught.value.error


# What is there


def test_it_outlives_its_starter_and_listens_on_this_machine_alone(server: LlamaServer) -> None:
    assert server.running()
    assert server.pid is not None
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(server.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}
    assert server.address == f"http://127.0.0.1:{server.port}"
    assert LlamaServer(server.home.path).address == server.address


def test_root_and_version(http: httpx.Client) -> None:
    assert http.get("/").text == "Ollama is running"
    assert http.head("/").status_code == 200
    assert http.head("/api/tags").status_code == 200
    assert http.get("/api/version").json()["version"].count(".") == 2
    assert http.get("/api/nothing").status_code == 404
    assert http.get("/api/chat").json() == {"error": "Method Not Allowed"}


def test_a_strange_host_is_refused(http: httpx.Client) -> None:
    assert http.get("/api/tags", headers={"Host": "evil.example"}).status_code == 400


def test_list_show_and_ps(client: ollama.Client) -> None:
    [model] = client.list().models
    assert (model.model, model.digest) == (MODEL, SHA256)
    assert model.details is not None
    assert model.details.quantization_level == "Q4_1"
    shown = client.show("smollm2")
    assert shown.capabilities == ["completion", "embedding"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 8192
    assert shown.template is not None
    assert "<|im_start|>" in shown.template
    [running] = client.ps().models
    assert (running.name, running.context_length) == (MODEL, 4096)


@pytest.mark.parametrize("name", ["smollm2", "smollm2:135m", "smollm2:latest"])
def test_loading_by_every_name(client: ollama.Client, name: str) -> None:
    assert client.chat(name).done_reason == "load"
    assert client.generate(name).done_reason == "load"
    assert client.generate(name, keep_alive=0).done_reason == "unload"


def test_pull(client: ollama.Client) -> None:
    assert client.pull("smollm2").status == "success"
    steps = [step.status for step in client.pull(MODEL, stream=True)]
    assert steps[0] == "pulling manifest"
    assert steps[-1] == "success"
    for call in (lambda: client.pull("llama2"), lambda: list(client.pull("llama2", stream=True))):
        status, message = refused(call)
        assert status in (500, -1)
        assert "'llama2'" in message


# Answers


def test_chat(client: ollama.Client) -> None:
    reply = client.chat(
        MODEL,
        HELLO,
        options={
            "temperature": 0,
            "seed": -1,
            "num_predict": 8,
            "top_k": 20,
            "top_p": 0.5,
            "repeat_penalty": 1.1,
            "num_ctx": 2048,
        },
    )
    assert said(reply)
    assert (reply.done, reply.done_reason, reply.eval_count) == (True, "length", 8)
    assert reply.prompt_eval_count == 33
    assert reply.eval_duration is not None
    assert reply.prompt_eval_duration is not None
    assert reply.total_duration is not None
    assert 10_000_000 < reply.eval_duration < reply.total_duration < 30_000_000_000


def test_chat_in_a_stream_says_the_same(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 8}
    whole = client.chat(MODEL, HELLO, options=options)
    *parts, last = client.chat(MODEL, HELLO, stream=True, options=options)
    assert len(parts) > 3
    assert not any(part.done for part in parts)
    assert "".join(map(said, parts)) == said(whole)
    assert (last.done, last.done_reason, last.eval_count) == (True, "length", 8)


def test_an_answer_that_ends_by_itself(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "Say hello."}]
    reply = client.chat(MODEL, messages, options={"temperature": 0, "stop": ["!", "."]})
    assert reply.done_reason == "stop"
    assert said(reply)
    assert "." not in said(reply)


def test_a_schema_is_kept_in_both_ways(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "Name a colour and a count, in JSON."}]
    options = {"temperature": 0, "num_predict": 60}
    whole = client.chat(MODEL, messages, format=COLOUR, options=options)
    parts = client.chat(MODEL, messages, format=COLOUR, options=options, stream=True)
    for text in (said(whole), "".join(map(said, parts))):
        answer = json.loads(text)
        assert answer["colour"] in {"red", "green", "blue"}
        assert 1 <= answer["count"] <= 9


def test_json_without_a_schema(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": 'Answer with the JSON {"colour": "red"}.'}]
    reply = client.chat(
        MODEL, messages, format="json", options={"temperature": 0, "num_predict": 20}
    )
    assert said(reply).lstrip().startswith("{")


def test_generate(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 4}
    raw = client.generate(MODEL, "The capital of France is", raw=True, options=options)
    assert "Paris" in str(raw.response)
    assert raw.prompt_eval_count == 5
    parts = list(client.generate(MODEL, "Hello", system="Be brief.", stream=True, options=options))
    assert "".join(str(part.response) for part in parts)
    assert parts[-1].done_reason == "length"
    shaped = client.generate(MODEL, "A colour, in JSON.", format=COLOUR, options={"temperature": 0})
    assert json.loads(str(shaped.response))["colour"] in {"red", "green", "blue"}


def test_a_seed_decides(client: ollama.Client) -> None:
    def ask(seed: int) -> str:
        options = {"temperature": 1.5, "seed": seed, "num_predict": 12}
        return said(client.chat(MODEL, HELLO, options=options))

    assert len({ask(1), ask(2), ask(2**40 + 3)}) > 1


def test_embed(client: ollama.Client, http: httpx.Client) -> None:
    reply = client.embed(MODEL, ["a cat", "a kitten", "tax law of 1987"])
    cat, kitten, law = reply.embeddings
    assert len(cat) == 576
    assert sum(number**2 for number in cat) == pytest.approx(1)
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (kitten, law))
    assert near > far
    assert (reply.prompt_eval_count or 0) > 6
    short = client.embed(MODEL, "a cat", dimensions=8).embeddings[0]
    assert len(short) == 8
    assert sum(number**2 for number in short) == pytest.approx(1)
    assert client.embed(MODEL, []).embeddings == []
    old = http.post("/api/embeddings", json={"model": MODEL, "prompt": "a cat"}).json()
    assert old["embedding"] == pytest.approx(list(cat), abs=1e-3)


def test_a_long_text_is_cut_for_embedding_only_when_allowed(client: ollama.Client) -> None:
    text = "word " * 300
    assert len(client.embed(MODEL, text).embeddings) == 1
    status, message = refused(lambda: client.embed(MODEL, text, truncate=False))
    assert status == 400
    assert "301 tokens" in message


def test_lines_are_ascii(http: httpx.Client) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Repeat: é \x85 \u2028 \U0001f600"}],
        "format": {"type": "string", "const": "é \x85 \u2028 \U0001f600"},
        "options": {"temperature": 0, "num_predict": 60},
    }
    reply = http.post("/api/chat", json=body)
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.content.isascii()
    lines = [json.loads(line) for line in reply.content.splitlines()]
    assert "é" in "".join(line["message"]["content"] for line in lines)


# Refusals


def test_an_unknown_model_is_404(client: ollama.Client) -> None:
    missing = (404, "model 'llama2' not found")
    assert refused(lambda: client.chat("llama2", HELLO)) == missing
    assert refused(lambda: list(client.chat("llama2", HELLO, stream=True))) == missing
    assert refused(lambda: client.generate("llama2", "x")) == missing
    assert refused(lambda: client.embed("llama2", "x")) == missing
    assert refused(lambda: client.show("llama2")) == missing


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "missing request body"),
        (b"{", "Invalid JSON"),
        (b"[]", "object"),
        (b'{"messages": []}', "model is required"),
        (b'{"model": "smollm2", "messages": "hi"}', "messages"),
        (b'{"model": "smollm2", "messages": [{"role": "alien"}]}', "messages.0.role"),
        (b'{"model": "smollm2", "messages": [{"role": "user"}], "think": true}', "thinking"),
        (b'{"model": "smollm2", "messages": [{"role": "user"}], "tools": [{}]}', "tools"),
        (b'{"model": "smollm2", "messages": [{"role": "user"}], "format": {"type": 1}}', "schema"),
    ],
)
def test_a_bad_body_is_400(http: httpx.Client, body: bytes, reason: str) -> None:
    reply = http.post("/api/chat", content=body)
    assert reply.status_code == 400
    assert reason in reply.json()["error"]


def test_wrong_types_are_500_as_in_ollama(http: httpx.Client) -> None:
    call = {"model": MODEL, "messages": HELLO}
    reply = http.post("/api/chat", json=call | {"options": {"num_ctx": "many"}})
    assert reply.status_code == 500
    assert reply.json() == {"error": 'option "num_ctx" must be of type integer'}
    reply = http.post("/api/chat", json=call | {"format": 3})
    assert reply.status_code == 500
    assert "invalid format" in reply.json()["error"]


def test_a_prompt_beyond_the_context_is_400(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "word " * 6000}]
    for call in (
        lambda: client.chat(MODEL, messages),
        lambda: list(client.chat(MODEL, messages, stream=True)),
    ):
        status, message = refused(call)
        assert status == 400
        assert "exceeds the context of 4096" in message


# Hanging up, and waiting


def test_hanging_up_ends_the_writing_and_frees_the_slots(
    server: LlamaServer, client: ollama.Client
) -> None:
    with ExitStack() as calls:
        for _ in range(SLOTS):
            calls.enter_context(endless(server))
    assert wait_until(is_idle(server), 10)
    assert client.chat(MODEL, HELLO, options={"num_predict": 2}).eval_count == 2


def test_hanging_up_while_the_prompt_is_read(server: LlamaServer, http: httpx.Client) -> None:
    body = {"model": MODEL, "stream": False, "prompt": "some words " * 1900}
    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/generate", json=body, timeout=0.3)
    # It reads to the end of a batch or two, and there are fifteen: 30 seconds of one core's work.
    assert server.pid is not None
    process = psutil.Process(server.pid)
    before = process.cpu_times().user
    assert wait_until(is_idle(server), 30)
    assert process.cpu_times().user - before < 15


def test_calls_beyond_the_slots_wait_and_beyond_the_queue_are_503(
    server: LlamaServer, http: httpx.Client
) -> None:
    body = {
        "model": MODEL,
        "messages": HELLO,
        "stream": False,
        "options": {"num_predict": 2},
    }
    with ThreadPoolExecutor(QUEUE + 1) as threads:
        with ExitStack() as calls:
            for _ in range(SLOTS):
                calls.enter_context(endless(server))
            replies = [threads.submit(http.post, "/api/chat", json=body) for _ in range(QUEUE + 1)]
            # Nobody can be answered while the slots are taken, but one can be turned away.
            done, waiting = wait(replies, timeout=20, return_when=FIRST_COMPLETED)
            [reply] = [future.result() for future in done]
            assert reply.status_code == 503
            assert reply.json() == {
                "error": "server busy, please try again.  maximum pending requests exceeded"
            }
        assert [future.result().status_code for future in waiting] == [200] * QUEUE


def test_hanging_up_while_waiting_gives_the_place_back(
    server: LlamaServer, http: httpx.Client
) -> None:
    body = {"model": MODEL, "messages": HELLO, "options": {"num_predict": 2}}
    with ExitStack() as calls:
        for _ in range(SLOTS):
            calls.enter_context(endless(server))
        for _ in range(QUEUE + 2):
            with pytest.raises(httpx.ReadTimeout):
                http.post("/api/chat", json=body, timeout=0.2)
    assert http.post("/api/chat", json=body).status_code == 200


# The process


def test_another_model_needs_a_new_start(server: LlamaServer) -> None:
    other = LlamaServer(server.home.path, Weights(server.weights.path, "other:latest"))
    with pytest.raises(ConfigurationError, match="serves another model than other:latest"):
        other.start()
    assert server.running()


def test_the_log_tells_no_prompts(server: LlamaServer) -> None:
    log = server.log.read_text()
    assert server.address in log
    assert "hello" not in log.lower()
    assert "Traceback" not in log


def test_a_stranger_on_the_port_and_a_quick_end() -> None:
    home = Path(tempfile.mkdtemp(prefix="gateway-"))
    server = LlamaServer(home, slots=1, context=1024)
    first_choice = server.port
    try:
        with socket.create_server(("127.0.0.1", first_choice)):
            server.start()
        assert server.running()
        assert server.port != first_choice
        chosen = server.port
        with endless(server):
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < 4
        assert not server.running()
        server.start()
        assert server.port == chosen
        pid = server.pid
        assert pid is not None
        shutil.rmtree(home)
        assert wait_until(lambda: not psutil.pid_exists(pid), 8)
    finally:
        if home.exists():
            server.stop()
            shutil.rmtree(home, ignore_errors=True)
