from __future__ import annotations

import dataclasses
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import AgentError, CallCancelled, ModelFailed, Retry
from agents.model import ChatOptions, ChatRequest, Message, Reply, Usage
from agents.scripted import ScriptedModel
from workflows.errors import AgentSystemError

REQUEST = ChatRequest("m", (Message("user", "Hello"),), {"b": 1, "a": 2})
REPLIES = st.builds(
    Reply,
    text=st.text(),
    usage=st.builds(Usage, prompt=st.integers(0), load_seconds=st.floats(0, 1e6)),
    done_reason=st.sampled_from(["stop", "length"]),
)


@given(REPLIES)
def test_a_reply_survives_json(reply: Reply) -> None:
    assert Reply.from_json(json.loads(json.dumps(reply.to_json()))) == reply


def test_the_digest_tells_requests_apart() -> None:
    same = dataclasses.replace(REQUEST, schema={"a": 2, "b": 1})
    warmer = dataclasses.replace(REQUEST, options=ChatOptions(temperature=0.1))
    assert same.digest() == REQUEST.digest() != warmer.digest()


def test_usage_adds_up() -> None:
    assert Usage.total(Usage(1, 2, 3), Usage(4, 5, 6)) == Usage(5, 7, 9)


def test_every_error_is_of_the_family() -> None:
    kinds = AgentError.__subclasses__()
    assert len(kinds) > 10
    assert all(issubclass(kind, AgentSystemError) for kind in kinds)
    later = {kind.__name__ for kind in kinds if kind.retry is Retry.LATER}
    assert later == {"ModelUnreachable", "ModelBusy", "ModelFailed", "IncompleteReply"}


def test_the_script_answers_from_its_queue_and_then_by_rule() -> None:
    model = ScriptedModel("one", rules=[lambda _: None, lambda asked: asked.messages[0].content])
    heard: list[str] = []
    assert model.chat(REQUEST, on_text=heard.append).text == "one"
    assert model.chat(REQUEST).text == "Hello"
    assert heard == ["one"]
    assert model.requests == [REQUEST, REQUEST]


def test_the_script_makes_nothing_up() -> None:
    with pytest.raises(ModelFailed, match="no answer to call 1, 'Hello'"):
        ScriptedModel().chat(REQUEST)


def test_the_script_can_fail_and_be_cancelled() -> None:
    model = ScriptedModel(ModelFailed("broken"))
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CallCancelled):
        model.chat(REQUEST, cancel=cancel)
    with pytest.raises(ModelFailed, match="broken"):
        model.chat(REQUEST)
