"""Whatever a model server can do wrong, over a real connection to a server that does it."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.answers import Form, ask
from agents.errors import (
    AgentError,
    ContextOverflow,
    IncompleteReply,
    ModelBusy,
    ModelFailed,
    ModelMissing,
    ModelRefused,
    ModelUnreachable,
    ReplyTruncated,
    Retry,
    UnreadableAnswer,
)
from agents.faults import check_window
from agents.model import ChatOptions, ChatRequest, Message, Reply, Usage
from agents.ollama import Limits, OllamaModel
from agents.wire import escape_line_ends
from tests.agents.conftest import Serve
from tests.agents.ollama_server import (
    Answer,
    End,
    OllamaServer,
    Until,
    done,
    line,
    part,
    refusal,
    whole,
)

QUESTION = ChatRequest("tiny", (Message("system", "Be short."), Message("user", "Hello?")))
SMALL = ChatOptions(num_ctx=2048)
LONG = ChatRequest("tiny", (Message("user", "letters " * 1400),), options=SMALL)
QUICK = Limits(connect=2.0, first=2.0, silence=2.0)


class Box(BaseModel):
    width: int


def chat(server: OllamaServer, request: ChatRequest = QUESTION) -> Reply:
    return OllamaModel([server.host], limits=QUICK).chat(request)


class TestAWholeReply:
    def test_is_the_parts_in_their_order_in_the_callers_thread(self, serve: Serve) -> None:
        said: list[str] = []
        threads = set()

        def listen(text: str) -> None:
            said.append(text)
            threads.add(threading.current_thread())

        reply = OllamaModel([serve(whole("Go", "od", "", " day")).host]).chat(
            QUESTION, on_text=listen
        )
        assert said == ["Go", "od", " day"]
        assert threads == {threading.current_thread()}
        assert (reply.text, reply.model, reply.cut) == ("Good day", "tiny", False)

    def test_is_heard_while_it_is_spoken(self, serve: Serve) -> None:
        heard = threading.Event()
        server = serve(Answer((part("first"), Until(heard), done(" last"))))
        reply = OllamaModel([server.host]).chat(QUESTION, on_text=lambda _: heard.set())
        assert reply.text == "first last", "the server ends only when its first word was heard"

    def test_counts_tokens_and_turns_nanoseconds_into_seconds(self, serve: Serve) -> None:
        counts = {"prompt_eval_count": 7, "eval_count": 3, "load_duration": 2_000_000_000,
                  "prompt_eval_duration": 500_000_000, "eval_duration": 250_000_000}  # fmt: skip
        assert chat(serve(whole("x", **counts))).usage == Usage(7, 3, 2.0, 0.5, 0.25)

    def test_may_lack_counts_and_reason(self, serve: Serve) -> None:
        server = serve(Answer((done("x", reason=None),)))
        reply = chat(server)
        assert reply == Reply("x", Usage(), "tiny", server.host, "stop")

    def test_says_when_it_reached_its_limit(self, serve: Serve) -> None:
        assert chat(serve(Answer((part("and then"), done(reason="length"))))).cut

    def test_may_hold_any_letter(self, serve: Serve) -> None:
        text = 'a\u0085b\u2028c\u2029d\r\ne\x1cf"\\ü€🎉'
        assert chat(serve(whole(text, text))).text == text * 2

    def test_may_come_in_crumbs(self, serve: Serve) -> None:
        crumbs = b"".join([part("a\u0085b€"), done("!")])
        server = serve(Answer(tuple(crumbs[at : at + 1] for at in range(len(crumbs)))))
        assert chat(server).text == "a\u0085b€!"

    def test_is_asked_for_in_full(self, serve: Serve) -> None:
        server = serve(whole("{}"))
        options = ChatOptions(num_ctx=1024, num_predict=9, temperature=0.5, seed=4)
        schema = {"type": "object", "properties": {"b": {}, "a": {}}}
        request = ChatRequest("tiny", QUESTION.messages, schema, options)
        OllamaModel([server.host], keep_alive="3m").chat(request)
        (asked,) = server.requests
        assert (asked.method, asked.path) == ("POST", "/api/chat")
        assert asked.body.pop("messages") == [message.to_json() for message in QUESTION.messages]
        assert asked.body.pop("tools", []) == []
        assert asked.body == {
            "model": "tiny", "stream": True, "think": False, "format": schema,
            "options": asdict(options), "keep_alive": "3m",
        }  # fmt: skip
        assert asked.headers["accept-encoding"] == "identity"

    def test_needs_no_schema(self, serve: Serve) -> None:
        server = serve(whole("x"))
        chat(server)
        assert not server.requests[0].body.get("format")

    def test_is_asked_for_with_the_users_key(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OLLAMA_API_KEY", "sesame")
        server = serve(whole("x"))
        chat(server)
        assert server.requests[0].headers["authorization"] == "Bearer sesame"

    def test_needs_no_proxy(self, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        assert chat(serve(whole("x"))).text == "x"


BROKEN = {
    "no last line": Answer((part("Good"),)),
    "nothing at all": Answer(),
    "done is false at the end": Answer((part("Good"), part(""))),
    "only the model was loaded": Answer((done(reason="load"),)),
    "the model was unloaded": Answer((done(reason="unload"),)),
    "cut between lines": Answer((part("Good"), End.CUT)),
    "cut in the middle of a line": Answer((part("Good"), part("day")[:20], End.CUT)),
    "ended in the middle of a line": Answer((part("Good"), part("day")[:20])),
    "cut before any line": Answer((End.CUT,)),
    "cut before the headers": Answer((End.CUT,), status=None),
    "reset": Answer((part("Good"), End.RESET)),
    "a web page": Answer((b"<html>Welcome to the model</html>",), 200),
    "JSON that is no object": Answer((b"[1]\n",)),
    "an object of somebody else": Answer((b'{"choices": []}\n',)),
    "a refusal in the form of nobody": Answer((b'"upstream is down"',), 502),
    "letters that are none": Answer((b'{"message": {"content": "\xff\xfe',)),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_a_reply_that_is_not_whole_is_asked_for_again(serve: Serve, answer: Answer) -> None:
    server = serve(answer)
    with pytest.raises(IncompleteReply, match=server.host) as caught:
        chat(server)
    assert caught.value.retryable
    assert "\n" not in str(caught.value)


OPENAI = {"message": "Rate limit\nreached", "type": "requests", "code": None}
REFUSALS = [
    (refusal(503, "server busy, please try again.  maximum pending requests exceeded"),
     ModelBusy, "again. maximum pending"),
    (refusal(429, "too many requests"), ModelBusy, "too many"),
    (refusal(429, OPENAI), ModelBusy, "Rate limit"),
    (refusal(404, "model 'tiny' not found"), ModelMissing, "'tiny': pull it"),
    (Answer((b"404 page not found",), 404), ModelRefused, "page not found"),
    (refusal(400, "messages: invalid role"), ModelRefused, "invalid role"),
    (refusal(400, "tiny does not support thinking"), ModelRefused, "thinking"),
    (refusal(400, OPENAI), ModelRefused, "Rate limit"),
    (refusal(400, "the prompt exceeds the context length"), ContextOverflow, "give less text"),
    (refusal(401, "unauthorized"), ModelRefused, "key"),
    (refusal(403, "forbidden"), ModelRefused, "key"),
    (refusal(500, 'invalid format: "xml"'), ModelRefused, "xml"),
    (refusal(500, 'option "num_ctx" must be of type integer'), ModelRefused, "num_ctx"),
    (refusal(500, "model runner has unexpectedly stopped"), ModelFailed, "runner"),
    (refusal(502, "bad gateway"), ModelFailed, "bad gateway"),
    (Answer((b"<html>bad gateway</html>",), 502), ModelFailed, "html"),
    (Answer((), 500), ModelFailed, "failed"),
    (Answer((part("Good"), line(error="cuda error"))), ModelFailed, "cuda error"),
    (Answer((line(error="server busy"),)), ModelFailed, "server busy"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "kind", "words"), REFUSALS)
def test_a_refusal_says_what_to_do(
    serve: Serve, answer: Answer, kind: type[AgentError], words: str
) -> None:
    server = serve(answer)
    with pytest.raises(AgentError, match=words) as caught:
        chat(server)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    expected = {ModelRefused: Retry.NEVER, ContextOverflow: Retry.NEVER,
                ModelMissing: Retry.ELSEWHERE}  # fmt: skip
    assert caught.value.retry is expected.get(kind, Retry.LATER)


class TestAddresses:
    def test_nobody_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{unused.getsockname()[1]}"
            with pytest.raises(ModelUnreachable, match=f"{host}.*start it") as caught:
                OllamaModel([host]).chat(QUESTION)
        assert caught.value.exit_code == 4

    def test_a_name_that_is_nowhere(self) -> None:
        with pytest.raises(ModelUnreachable, match=r"nowhere\.invalid"):
            OllamaModel(["nowhere.invalid:1"]).chat(QUESTION)

    @pytest.mark.parametrize("host", ["localhost:abc", "ftp://localhost", "http://[::1", "a\x00b"])
    def test_what_is_no_address(self, host: str) -> None:
        with pytest.raises(ModelRefused, match="no address") as caught:
            OllamaModel([host], limits=QUICK).chat(QUESTION)
        assert repr(host) in str(caught.value)

    def test_none_at_all(self) -> None:
        with pytest.raises(ModelRefused, match="at least one"):
            OllamaModel([])


class TestTheWindow:
    @pytest.mark.parametrize(
        ("read", "written"),
        [(2040, 8), (2048, 0), (1024, 30)],
        ids=["full with the answer", "full with the prompt", "half of it read"],
    )
    def test_a_prompt_that_was_cut_silently_is_found_out(
        self, serve: Serve, read: int, written: int
    ) -> None:
        server = serve(whole("x", prompt_eval_count=read, eval_count=written))
        with pytest.raises(ContextOverflow, match="num_ctx"):
            chat(server, LONG)

    @pytest.mark.parametrize("read", [0, 1400, 2000])
    def test_a_prompt_that_may_have_been_read_is_believed(self, serve: Serve, read: int) -> None:
        reply = chat(serve(whole("x", prompt_eval_count=read, eval_count=8)), LONG)
        assert reply.usage.prompt == read

    def test_a_server_that_leaves_out_cached_tokens_is_believed(self, serve: Serve) -> None:
        short = ChatRequest("tiny", (Message("user", "letters " * 200),), options=SMALL)
        assert chat(serve(whole("x", prompt_eval_count=1)), short).text == "x"

    @given(st.lists(st.text(max_size=200), max_size=4), st.integers(1, 8))
    def test_honest_counts_are_never_doubted(self, texts: list[str], letters: int) -> None:
        messages = tuple(Message("user", text) for text in texts)
        request = ChatRequest("tiny", messages, options=SMALL)
        spoken = sum(len("".join(text.split())) for text in texts)
        check_window(request, Usage(prompt=-(-spoken // letters)), "h")


class TestASchemaThatIsIgnored:
    def test_is_repaired_in_the_validators_words(self, serve: Serve) -> None:
        server = serve(
            whole("It is rather wide."), whole('{"width": "very"}'), whole('{"width":3}')
        )
        model = OllamaModel([server.host])
        assert ask(model, QUESTION, Form.of(Box)) == Box(width=3)
        first, second, third = (asked.body for asked in server.requests)
        assert all(body["format"] == Box.model_json_schema() for body in (first, second, third))
        assert [turn["role"] for turn in second["messages"][-2:]] == ["assistant", "user"]
        assert second["messages"][-2]["content"] == "It is rather wide."
        assert "it is not JSON" in second["messages"][-1]["content"]
        assert "width: Input should be a valid integer" in third["messages"][-1]["content"]
        temperatures = [body["options"]["temperature"] for body in (first, second, third)]
        assert all(before < after for before, after in pairwise(temperatures))
        assert len({body["options"]["num_ctx"] for body in (first, second, third)}) == 1

    def test_is_an_error_in_the_end(self, serve: Serve) -> None:
        server = serve(*[whole("It is rather wide.")] * 3)
        with pytest.raises(UnreadableAnswer, match=r"tiny.*3 tries.*not JSON") as caught:
            ask(OllamaModel([server.host]), QUESTION, Form.of(Box))
        assert caught.value.retry is Retry.REPAIR
        assert len(server.requests) == 3

    def test_an_answer_cut_short_gets_more_room(self, serve: Serve) -> None:
        cut = Answer((part('{"width": '), done(reason="length")))
        server = serve(cut, cut, cut)
        with pytest.raises(ReplyTruncated, match="num_predict"):
            ask(OllamaModel([server.host]), QUESTION, Form.of(Box))
        assert [asked.body["options"]["num_predict"] for asked in server.requests] == [
            300,
            600,
            600,
        ]
        assert all(len(asked.body["messages"]) == 2 for asked in server.requests)

    def test_a_broken_line_is_not_repaired_but_asked_again(self, serve: Serve) -> None:
        server = serve(Answer((part('{"width": 3}'), End.CUT)))
        with pytest.raises(IncompleteReply):
            ask(OllamaModel([server.host]), QUESTION, Form.of(Box))


json_texts = st.text(st.sampled_from("ab\u0085\u2028\u2029\n€ÂâÅ"), max_size=30)


@given(st.lists(json_texts, max_size=4), st.lists(st.integers(1, 5), min_size=1))
def test_escaping_keeps_every_line_and_its_meaning(texts: list[str], sizes: list[int]) -> None:
    raw = b"".join(line(text=text) for text in texts)
    chunks: list[bytes] = []
    at = 0
    while at < len(raw):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(raw[at : at + size])
        at += size
    escaped = b"".join(escape_line_ends(iter(chunks))).decode()
    assert [json.loads(found)["text"] for found in escaped.splitlines()] == texts
