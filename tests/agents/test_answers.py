from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agents.answers import (
    Form,
    Path,
    ask,
    ask_text,
    find_json,
    paths,
    paths_told_to,
    refusals_counted,
)
from agents.errors import ContextOverflow, ReplyTruncated, UnreadableAnswer
from agents.model import ChatOptions, ChatRequest, Message, Reply
from agents.scripted import ScriptedModel

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


class Box(BaseModel):
    name: str
    size: int = Field(ge=1)


FORM = Form.of(Box)
GOOD = '{"name": "a", "size": 2}'


def request(model: str = "m") -> ChatRequest:
    return ChatRequest(model, (Message("user", "Which box?"),))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (GOOD, Path.DIRECT),
        (f"Here it is:\n```json\n{GOOD}\n```\nDone.", Path.EXTRACTED),
        (f"The [best] box is {GOOD}, I think.", Path.EXTRACTED),
    ],
)
def test_one_try(text: str, path: Path, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    model = ScriptedModel(text)
    assert ask(model, ChatRequest(name, ()), FORM) == Box(name="a", size=2)
    assert model.requests[0].schema == Box.model_json_schema()
    assert {key[1]: count for key, count in paths().items() if key[0] == name} == {path: 1}


def test_repair_in_the_words_of_the_validator() -> None:
    model = ScriptedModel('{"name": "a", "size": 0}', "sorry", GOOD)
    assert ask(model, request("repaired"), FORM).size == 2
    first, second, third = model.requests
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1].content == '{"name": "a", "size": 0}'
    assert "size: Input should be greater than or equal to 1" in second.messages[2].content
    assert "it is not JSON" in third.messages[2].content
    assert [one.options.temperature for one in (first, second, third)] == [0, 0.4, 0.7]
    assert paths()["repaired", Path.REPAIRED] == 1


def test_at_most_two_more_tries() -> None:
    model = ScriptedModel("1", "2", "3", GOOD)
    with pytest.raises(UnreadableAnswer, match="failed gave no usable answer in 3 tries") as caught:
        ask(model, request("failed"), FORM)
    assert len(model.requests) == 3
    assert not caught.value.retryable
    assert paths()["failed", Path.FAILED] == 1


def test_without_words_for_the_smallest() -> None:
    model = ScriptedModel("1", GOOD)
    ask(model, request(), FORM, explain=False)
    assert model.requests[1].messages == model.requests[0].messages


def test_an_answer_that_was_cut_gets_more_room_and_no_echo() -> None:
    model = ScriptedModel(Reply('{"name": "a', done_reason="length"), GOOD)
    ask(model, request(), FORM)
    assert model.requests[1].options.num_predict == 2 * ChatOptions().num_predict
    assert len(model.requests[1].messages) == 1


def test_an_answer_that_is_cut_to_the_end() -> None:
    model = ScriptedModel(*[Reply("{", done_reason="length")] * 3)
    with pytest.raises(ReplyTruncated, match="in 600 tokens"):
        ask(model, request(), FORM)


def test_blank_text() -> None:
    with pytest.raises(UnreadableAnswer, match="answered nothing"):
        ask_text(ScriptedModel(" \n"), request())


def test_what_cannot_fit_is_never_sent() -> None:
    model = ScriptedModel(GOOD)
    large = ChatRequest("m", (Message("user", "x" * 20_000),))
    with pytest.raises(ContextOverflow):
        ask(model, large, FORM)
    assert model.requests == []


def test_who_listens_is_told_how_answers_came_out_and_what_was_refused() -> None:
    told: list[tuple[str, Path]] = []
    large = ChatRequest("large", (Message("user", "x" * 20_000),))
    cut = Reply("{", done_reason="length")
    with paths_told_to(lambda *path: told.append(path)):
        ask(ScriptedModel("no", GOOD), request("heard"), FORM)
        with pytest.raises(ContextOverflow), refusals_counted("large"):
            ask(ScriptedModel(), large, FORM)
        with pytest.raises(ReplyTruncated), refusals_counted("cut"):
            ask(ScriptedModel(cut, cut, cut), request("cut"), FORM)
    ask(ScriptedModel(GOOD), request("unheard"), FORM)
    assert told == [
        ("heard", Path.REPAIRED), ("large", Path.OVERFLOW), ("cut", Path.FAILED), ("cut", Path.CUT),
    ]  # fmt: skip
    assert paths()["large", Path.OVERFLOW] == 1


@given(JSON, st.text("ab .\n", max_size=20))
def test_json_is_found_again(value: object, words: str) -> None:
    assert find_json(json.dumps(value)) == (value, False)
    if isinstance(value, list | dict):
        assert find_json(f"x{words}{json.dumps(value)}{words}") == (value, True)


@given(st.text(max_size=40))
def test_any_text_is_json_or_a_value_error(text: str) -> None:
    try:
        find_json(text)
    except ValueError:
        return
