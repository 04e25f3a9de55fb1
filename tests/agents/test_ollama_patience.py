"""How long a call waits, what ends it, and which of several hosts it asks.

Every end of a call is seen from both sides: the caller is back, and the server is hung up on.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from agents.errors import (
    AgentError,
    CallCancelled,
    ContextOverflow,
    DeadlinePassed,
    IncompleteReply,
    ModelBusy,
    ModelFailed,
    ModelMissing,
    ModelRefused,
    ModelUnreachable,
)
from agents.model import ChatRequest, Message
from agents.ollama import Limits, OllamaModel
from agents.wire import Wire
from tests.agents.conftest import Serve
from tests.agents.ollama_server import (
    Answer,
    End,
    Forever,
    OllamaServer,
    Reached,
    Step,
    Until,
    done,
    line,
    part,
    refusal,
    whole,
)

QUESTION = ChatRequest("tiny", (Message("user", "Hello?"),))
LIMITS = Limits(connect=0.3, first=30, silence=30)
QUICK = Limits(connect=2, first=2, silence=2)
MUTE = Answer((End.SILENCE,), status=None)
HEADERS_ONLY = Answer((End.SILENCE,))
STUCK = Answer((part("Good"), End.SILENCE))
TALKATIVE = Answer((Forever(part("word ")),))
BLANK = Answer((Forever(part("")),))
BUSY = refusal(503, "server busy")


@pytest.fixture
def crowded() -> Iterator[str]:
    """The address of a server that takes no more connections and refuses none."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def wait_for_the_thread(host: str) -> None:
    for thread in threading.enumerate():
        if host in thread.name:
            thread.join(1)
            assert not thread.is_alive(), "nobody waits for this call any more"


class TestSilence:
    @pytest.mark.parametrize("answer", [MUTE, HEADERS_ONLY], ids=["no byte", "no line"])
    def test_a_server_that_never_begins_is_left(self, serve: Serve, answer: Answer) -> None:
        server = serve(answer)
        started = time.monotonic()
        with pytest.raises(ModelUnreachable, match=rf"{server.host} said nothing for 0\.2 s"):
            OllamaModel([server.host], limits=replace(LIMITS, first=0.2)).chat(QUESTION)
        assert 0.2 <= time.monotonic() - started < 1
        server.gone.get(timeout=1)
        wait_for_the_thread(server.host)

    def test_a_server_that_falls_silent_is_left(self, serve: Serve) -> None:
        server = serve(STUCK)
        with pytest.raises(ModelUnreachable, match=r"said nothing for 0\.2 s") as caught:
            OllamaModel([server.host], limits=replace(LIMITS, silence=0.2)).chat(QUESTION)
        assert caught.value.retryable
        server.gone.get(timeout=1)

    def test_the_first_word_may_take_longer(self, serve: Serve) -> None:
        loaded = threading.Event()
        server = serve(Answer((Until(loaded), part("Good"), done())))
        model = OllamaModel([server.host], limits=replace(LIMITS, silence=0.05))
        timer = threading.Timer(0.3, loaded.set)
        timer.start()
        assert model.chat(QUESTION).text == "Good"
        timer.join()

    def test_a_connection_that_is_never_made_is_given_up(self, crowded: str) -> None:
        started = time.monotonic()
        with pytest.raises(ModelUnreachable, match=f"no Ollama server answers at {crowded}"):
            OllamaModel([crowded], limits=LIMITS).chat(QUESTION)
        assert time.monotonic() - started < 1.5


class TestTheDeadline:
    @pytest.mark.parametrize(
        "answer", [MUTE, STUCK, TALKATIVE, BLANK], ids=["mute", "stuck", "talkative", "blank"]
    )
    def test_ends_every_call(self, serve: Serve, answer: Answer) -> None:
        server = serve(answer)
        started = time.monotonic()
        with pytest.raises(DeadlinePassed, match=r"tiny.*0\.3 s.*allow more time") as caught:
            OllamaModel([server.host], limits=replace(LIMITS, total=0.3)).chat(QUESTION)
        assert 0.3 <= time.monotonic() - started < 1
        assert not caught.value.retryable
        server.gone.get(timeout=1)
        wait_for_the_thread(server.host)

    def test_holds_for_all_hosts_together(self, serve: Serve) -> None:
        servers = [serve(MUTE), serve(MUTE), serve(MUTE)]
        limits = replace(LIMITS, first=0.3, total=0.5)
        started = time.monotonic()
        with pytest.raises(DeadlinePassed):
            OllamaModel([server.host for server in servers], limits=limits).chat(QUESTION)
        assert time.monotonic() - started < 0.9
        assert [len(server.requests) for server in servers] == [1, 1, 0]


class TestCancelling:
    @pytest.mark.parametrize(
        "before",
        [(), (part(""),), (part("Good"),)],
        ids=["no byte", "no text", "in the middle"],
    )
    def test_reaches_a_silent_server(self, serve: Serve, before: tuple[bytes, ...]) -> None:
        cancel = threading.Event()
        steps: tuple[Step, ...] = (*before, Reached(cancel), End.SILENCE)
        server = serve(Answer(steps, status=200 if before else None))
        started = time.monotonic()
        with pytest.raises(CallCancelled, match=f"tiny on {server.host}") as caught:
            OllamaModel([server.host], limits=LIMITS).chat(QUESTION, cancel=cancel)
        assert time.monotonic() - started < 1
        assert server.gone.get(timeout=1) - started < 1
        assert not caught.value.retryable
        wait_for_the_thread(server.host)

    def test_reaches_a_server_that_does_not_stop_talking(self, serve: Serve) -> None:
        server = serve(TALKATIVE)
        cancel = threading.Event()
        heard: list[float] = []

        def listen(text: str) -> None:
            heard.append(time.monotonic())
            if len(heard) == 3:
                cancel.set()

        with pytest.raises(CallCancelled):
            OllamaModel([server.host], limits=LIMITS).chat(QUESTION, on_text=listen, cancel=cancel)
        assert len(heard) == 3, "what arrives later is not for the caller"
        assert server.gone.get(timeout=1) - heard[-1] < 1
        wait_for_the_thread(server.host)

    def test_reaches_a_connection_in_the_making(self, crowded: str) -> None:
        cancel = threading.Event()
        timer = threading.Timer(0.1, cancel.set)
        timer.start()
        started = time.monotonic()
        with pytest.raises(CallCancelled):
            OllamaModel([crowded], limits=replace(LIMITS, connect=1.5)).chat(
                QUESTION, cancel=cancel
            )
        assert time.monotonic() - started < 1
        timer.join()

    def test_comes_before_anything_is_sent(self, serve: Serve) -> None:
        server = serve()
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(CallCancelled, match="before"):
            OllamaModel([server.host]).chat(QUESTION, cancel=cancel)
        assert server.requests == []

    def test_holds_for_the_other_hosts_too(self, serve: Serve) -> None:
        cancel = threading.Event()
        server, other = serve(Answer((Reached(cancel),), 503)), serve()
        with pytest.raises(CallCancelled):
            OllamaModel([server.host, other.host], limits=LIMITS).chat(QUESTION, cancel=cancel)
        assert other.requests == []

    def test_a_listener_that_fails_ends_the_call_as_well(self, serve: Serve) -> None:
        server = serve(TALKATIVE)

        def listen(text: str) -> None:
            raise LookupError(text)

        with pytest.raises(LookupError, match="word"):
            OllamaModel([server.host], limits=LIMITS).chat(QUESTION, on_text=listen)
        server.gone.get(timeout=1)
        wait_for_the_thread(server.host)

    def test_a_wire_that_is_hung_up_stays_silent(self, serve: Serve) -> None:
        server = serve(whole("x"))
        wire = Wire()
        wire.hang_up()
        with httpx.Client(transport=wire) as client, pytest.raises(httpx.TransportError):
            client.post(f"http://{server.host}/api/chat", json={})


class TestSeveralHosts:
    PASSED_OVER = (
        BUSY,
        refusal(500, "model runner has unexpectedly stopped"),
        refusal(404, "model 'tiny' not found"),
        Answer((part(""), End.CUT)),
        MUTE,
    )

    @pytest.mark.parametrize("answer", PASSED_OVER, ids=["busy", "500", "404", "cut", "mute"])
    def test_one_that_fails_at_first_is_passed_over_and_avoided(
        self, serve: Serve, answer: Answer
    ) -> None:
        bad, good = serve(answer), serve(whole("one"), whole("two"))
        model = OllamaModel([bad.host, good.host], limits=replace(LIMITS, first=0.3))
        heard: list[str] = []
        replies = [model.chat(QUESTION, on_text=heard.append) for _ in range(2)]
        assert [(reply.text, reply.host) for reply in replies] == [
            ("one", good.host),
            ("two", good.host),
        ]
        assert heard == ["one", "two"]
        assert len(bad.requests) == 1, "for half a minute it comes last"

    def test_one_that_is_down_is_passed_over(self, serve: Serve) -> None:
        with OllamaServer() as down:
            pass
        assert OllamaModel([down.host, serve(whole("x")).host]).chat(QUESTION).text == "x"

    def test_one_that_is_avoided_is_better_than_none(self, serve: Serve) -> None:
        first, second = serve(BUSY, whole("x")), serve(BUSY, BUSY)
        model = OllamaModel([first.host, second.host])
        with pytest.raises(ModelBusy, match=second.host):
            model.chat(QUESTION)
        assert model.chat(QUESTION).host == first.host

    def test_one_is_not_avoided_for_ever(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agents.host._AVOIDED_SECONDS", 0.0)
        first, second = serve(BUSY, whole("x")), serve(whole("y"))
        model = OllamaModel([first.host, second.host])
        assert [model.chat(QUESTION).host for _ in range(2)] == [second.host, first.host]

    @pytest.mark.parametrize(
        ("end", "kind"),
        [
            (End.CUT, IncompleteReply),
            (End.SILENCE, ModelUnreachable),
            (line(error="cuda error"), ModelFailed),
        ],
        ids=["cut", "silence", "error"],
    )
    def test_what_was_said_is_not_taken_back(
        self, serve: Serve, end: Step, kind: type[AgentError]
    ) -> None:
        server, other = serve(Answer((part("Good"), end))), serve()
        model = OllamaModel([server.host, other.host], limits=replace(LIMITS, silence=0.2))
        heard: list[str] = []
        with pytest.raises(kind, match=server.host):
            model.chat(QUESTION, on_text=heard.append)
        assert heard == ["Good"]
        assert other.requests == []

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (refusal(400, "bad"), ModelRefused),
            (refusal(500, "invalid format: 3"), ModelRefused),
            (whole(prompt_eval_count=4096), ContextOverflow),
        ],
    )
    def test_a_mistake_of_the_caller_is_one_everywhere(
        self, serve: Serve, answer: Answer, kind: type[AgentError]
    ) -> None:
        server, other = serve(answer), serve()
        with pytest.raises(kind):
            OllamaModel([server.host, other.host]).chat(QUESTION)
        assert other.requests == []

    def test_the_error_is_that_of_the_last(self, serve: Serve) -> None:
        missing = refusal(404, "model 'tiny' not found")
        first, last = serve(missing), serve(missing)
        with pytest.raises(ModelMissing, match=last.host):
            OllamaModel([first.host, last.host]).chat(QUESTION)

    def test_a_model_is_missing_only_if_every_host_says_so(self, serve: Serve) -> None:
        first, last = serve(BUSY), serve(refusal(404, "model 'tiny' not found"))
        with pytest.raises(ModelBusy, match=first.host):
            OllamaModel([first.host, last.host]).chat(QUESTION)

    def test_the_less_busy_one_is_asked(self, serve: Serve) -> None:
        asked, finish = threading.Event(), threading.Event()
        first = serve(Answer((Reached(asked), Until(finish), done("one"))), whole("three"))
        second = serve(whole("two"))
        model = OllamaModel([first.host, second.host], limits=QUICK)
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(model.chat, QUESTION)
            assert asked.wait(2)
            assert model.chat(QUESTION).host == second.host
            finish.set()
            assert slow.result().host == first.host

    def test_whoever_has_answered_is_free_again(self, serve: Serve) -> None:
        first, second = serve(whole("one"), whole("two")), serve()
        model = OllamaModel([first.host, second.host])
        assert [model.chat(QUESTION).text for _ in range(2)] == ["one", "two"]
        assert second.requests == []

    def test_many_threads_share_a_model(self, serve: Serve) -> None:
        servers = [serve(*[whole("x")] * 20), serve(*[whole("x")] * 20)]
        model = OllamaModel([server.host for server in servers])
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(model.chat, [QUESTION] * 20))
        assert {reply.text for reply in replies} == {"x"}
        assert sum(len(server.requests) for server in servers) == 20
