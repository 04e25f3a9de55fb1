"""What a worker finds out about a host before it sends work there, and what it does about it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from agents.model import ChatOptions
from agents.profile import AgentProfile, AgentType
from agents.readiness import Finding, Need, Readiness, needs_of
from agents.sight import answers, look_at
from tests.agents.ollama_server import Answer, End, OllamaServer, line, refusal

Serve = Callable[..., OllamaServer]

NEED = Need("tiny", 4096)
LOADED = Answer((line(model="tiny", response="", done=True, done_reason="load"),))
TEXT = Answer((line(model_info={"llama.context_length": 8192}, capabilities=["completion"]),))


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(OllamaServer(*answers))


def seen(*models: str, window: int = 4096) -> list[Answer]:
    """What a host says when it is looked at."""
    entries = [{"model": name, "context_length": window} for name in models]
    said = ({"version": "0.33.0"}, {"models": entries}, {"models": entries})
    return [Answer((line(**values),)) for values in said]


def prepared(server: OllamaServer, *, may_pull: bool = False, need: Need = NEED) -> list[Finding]:
    findings: list[Finding] = []
    Readiness(may_pull, "10m", findings.append).prepare(server.host, [need])
    return findings


def test_a_model_that_is_there_is_loaded(serve: Serve) -> None:
    server = serve(*seen("tiny:latest"), TEXT, LOADED, *seen("tiny:latest"))
    (finding,) = prepared(server)
    assert finding.well
    assert f"{server.host} has tiny loaded" in finding.text
    load = server.requests[4].body
    assert (load["model"], load.get("prompt"), load["keep_alive"]) == ("tiny", None, "10m")
    assert load["options"]["num_ctx"] == 4096, "the same as in calls, or it is loaded anew"


def test_a_model_that_is_missing_is_not_pulled_unasked(serve: Serve) -> None:
    server = serve(*seen("other:latest"))
    (finding,) = prepared(server)
    assert not finding.well
    assert "does not have tiny: `ollama pull tiny` there" in finding.text
    assert len(server.requests) == 3


def test_a_pull_is_told_step_by_step(serve: Serve) -> None:
    progress = [line(status="x", digest="a", total=1000, completed=n) for n in range(0, 1001, 50)]
    pull = Answer((line(status="pulling manifest"), *progress, line(status="success")))
    server = serve(*seen(), pull, TEXT, LOADED, *seen("tiny"))
    texts = [finding.text for finding in prepared(server, may_pull=True)]
    assert texts[0].endswith("does not have tiny: pulling it")
    assert [text.split(": ")[-1] for text in texts[1:-2]] == [f"{n} %" for n in range(10, 101, 10)]
    assert texts[-2].endswith("has pulled tiny")


@pytest.mark.parametrize(
    "answer",
    [
        Answer((line(error="pull model manifest: file does not exist"),)),
        refusal(500, "no space left"),
        Answer((line(status="x", digest="a", total=9, completed=1), End.CUT)),
    ],
    ids=["in the stream", "500", "cut"],
)
def test_a_pull_that_fails_is_told(serve: Serve, answer: Answer) -> None:
    server = serve(*seen(), answer)
    last = prepared(server, may_pull=True)[-1]
    assert not last.well
    assert last.text.startswith("tiny is not ready: ")
    assert server.host in last.text


def test_a_window_that_the_model_was_not_made_for_is_told(serve: Serve) -> None:
    server = serve(*seen("tiny"), TEXT, LOADED, *seen("tiny", window=8192))
    first, _, last = prepared(server, need=Need("tiny", 16384))
    assert (first.well, last.well) == (False, False)
    assert "made for 8192 tokens and is asked for num_ctx 16384" in first.text
    assert "runs with a window of 8192 tokens, not of 16384" in last.text


def test_a_model_that_writes_no_text_is_told(serve: Serve) -> None:
    embeds = Answer((line(capabilities=["embedding"]),))
    server = serve(*seen("tiny"), embeds, LOADED, *seen("tiny"))
    assert "writes no text: name another" in prepared(server)[0].text


def test_a_host_that_fails_is_told(serve: Serve) -> None:
    (finding,) = prepared(serve(*seen("tiny"), TEXT, refusal(500, "out of memory")))
    assert not finding.well
    assert "out of memory" in finding.text


def profile(model: str, num_ctx: int = 4096, **more: Any) -> AgentProfile:
    options = ChatOptions(num_ctx=num_ctx)
    return AgentProfile(name="ann", type=AgentType.WRITER, model=model, options=options, **more)


def test_a_model_is_needed_once() -> None:
    profiles = [profile("a", 2048), profile("b"), profile("a", tools=("calculate",))]
    assert needs_of(profiles) == [Need("a", 2048, tools=True), Need("b", 4096)]
    assert not needs_of([profile("a", tools=("calculate",), tool_form="schema")])[0].tools


def test_a_model_that_is_to_call_tools_and_cannot_is_told(serve: Serve) -> None:
    server = serve(*seen("tiny"), TEXT, LOADED, *seen("tiny"))
    finding = prepared(server, need=Need("tiny", 4096, tools=True))[0]
    assert not finding.well
    assert "cannot call tools: give its agents tool_form: schema" in finding.text


class TestALook:
    def test_shows_what_is_there(self, serve: Serve) -> None:
        sight = look_at(serve(*seen("tiny")).host)
        assert (sight.state, sight.version) == ("up", "0.33.0")
        assert sight.models == frozenset({"tiny"})
        assert dict(sight.loaded) == {"tiny": 4096}

    def test_takes_a_host_that_cannot_say_what_is_loaded(self, serve: Serve) -> None:
        sight = look_at(serve(*seen("tiny")[:2], refusal(404, "not found")).host)
        assert (sight.state, sight.models) == ("up", frozenset({"tiny"}))
        assert not sight.loaded

    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            (refusal(503, "server busy"), "full"),
            (refusal(500, "broken"), "down"),
            (refusal(401, "no key"), "down"),
            (Answer((b"<html>", End.CUT)), "down"),
            (Answer((b"words\n",)), "down"),
            (Answer((End.SILENCE,), status=None), "down"),
        ],
    )
    def test_of_a_host_that_is_not_well(self, serve: Serve, answer: Answer, state: str) -> None:
        sight = look_at(serve(answer).host, seconds=0.3)
        assert sight.state == state
        assert sight.fault is not None

    def test_of_nobody(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{free.getsockname()[1]}"
        assert look_at(host).state == "down"
        assert not answers(host)

    @pytest.mark.parametrize(("status", "there"), [(500, True), (404, True), (502, False)])
    def test_who_answers_badly_is_there(self, serve: Serve, status: int, there: bool) -> None:
        assert answers(serve(refusal(status, "x")).host) is there
