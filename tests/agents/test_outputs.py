"""Answers that a task types by its `output`: what is asked, read, and asked again."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.agent import Agent
from agents.context import room_for
from agents.errors import ContextOverflow, ReplyTruncated, UnreadableAnswer
from agents.model import ChatOptions, ChatRequest, Reply
from agents.outputs import output_form
from agents.profile import AgentProfile, AgentType
from agents.scripted import ScriptedModel
from workflows.task import Task, TaskInput

NAMES = {"type": "array", "items": {"type": "string"}, "maxItems": 3}
GOOD = '{"answer": ["Ann", "Bob"]}'
BAD = '{"answer": ["Ann", 5]}'
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def agent(**more: Any) -> Agent:
    return Agent(AgentProfile(name="ann", type=AgentType.WRITER, model="m", **more))


def task() -> Task:
    return Task(id=UUID(int=7), description="Name them.", output=NAMES)


def test_the_value_is_the_answer() -> None:
    model = ScriptedModel(GOOD)
    answer = agent(sentences=1).perform(task(), model=model)
    assert (answer.value, answer.calls) == (["Ann", "Bob"], 1)
    (asked,) = model.requests
    assert asked.schema == output_form(NAMES).schema
    assert json.dumps(asked.schema) in asked.messages[-1].content


@given(VALUES)
def test_any_json_may_be_an_answer(value: Any) -> None:
    assert output_form({}).read(json.loads(json.dumps({"answer": value}))) == value


def test_what_does_not_fit_is_asked_for_again_with_the_fault() -> None:
    model = ScriptedModel(BAD, GOOD)
    assert agent().perform(task(), model=model).value == ["Ann", "Bob"]
    assert "[1]: 5 is not of type 'string'" in model.requests[1].messages[-1].content


def test_what_never_fits_is_named_and_left_to_the_policy_of_the_task() -> None:
    with pytest.raises(UnreadableAnswer, match=r"3 tries: \[1\]: 5 is not of type") as caught:
        agent().perform(task(), model=ScriptedModel(BAD, BAD, BAD))
    assert caught.value.retryable is None
    with pytest.raises(ReplyTruncated) as cut:
        agent().perform(task(), model=ScriptedModel(*[Reply("{", done_reason="length")] * 3))
    assert cut.value.retryable is None
    with pytest.raises(UnreadableAnswer, match="it is not a JSON object with the key"):
        agent().perform(task(), model=ScriptedModel(*['["Ann"]'] * 3))


def test_a_task_that_is_tried_again_asks_with_other_seeds() -> None:
    model = ScriptedModel(BAD, BAD, GOOD, GOOD)
    agent().perform(task(), model=model)
    agent().perform(task(), model=model, tries=1)
    seeds = [asked.options.seed for asked in model.requests]
    assert seeds[:3] == [7, 8, 9]
    assert seeds[3] not in seeds[:3]


def test_references_are_those_of_the_schema_inside_the_object() -> None:
    tree = {
        "$defs": {"name": {"type": "string"}},
        "type": "object",
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "below": {"type": "array", "items": {"$ref": "#"}},
        },
    }
    inside = output_form(tree).schema["properties"]["answer"]["properties"]
    assert inside["name"] == {"$ref": "#/properties/answer/$defs/name"}
    assert inside["below"]["items"] == {"$ref": "#/properties/answer"}
    value = {"name": "a", "below": [{"name": "b", "below": []}]}
    assert output_form(tree).read({"answer": value}) == value


def test_several_results_are_read_and_not_assembled() -> None:
    model = ScriptedModel(GOOD)
    texts = [TaskInput(name="Cats", text="Cats purr."), TaskInput(name="Dogs", text="Dogs bark.")]
    assert agent(joins="assemble").perform(task(), [], texts, model=model).value == ["Ann", "Bob"]
    said = model.requests[0].messages[-1].content
    assert "## Cats\n\nCats purr.\n\n## Dogs\n\nDogs bark." in said


@pytest.mark.parametrize("quotes", [True, False])
def test_a_long_text_is_read_in_pieces_first(quotes: bool) -> None:
    def reads(request: ChatRequest) -> str:
        if request.schema is None:
            return "Ann and Bob came."
        inside = request.schema["properties"]
        return (
            GOOD if "answer" in inside else json.dumps({k: v["enum"][0] for k, v in inside.items()})
        )

    text = "\n\n".join(
        f"Visitor number {number} came in by the front door." for number in range(300)
    )
    options = ChatOptions(num_ctx=1500, num_predict=100)
    model = ScriptedModel(rules=[reads])
    answer = agent(quotes=quotes, sentences=2, options=options).perform(
        task(), [TaskInput(name="Visitors", text=text)], model=model
    )
    assert answer.value == ["Ann", "Bob"]
    assert answer.calls > 3
    # The question leaves room to be asked again with its answer and the fault.
    assert room_for(model.requests[-1]) >= 2 * options.num_predict


def test_a_window_without_room_for_the_schema_is_told() -> None:
    options = ChatOptions(num_ctx=400, num_predict=100)
    with pytest.raises(ContextOverflow, match="raise num_ctx"):
        agent(options=options).perform(
            task(), [TaskInput(name="a", text="b")], model=ScriptedModel(GOOD)
        )
