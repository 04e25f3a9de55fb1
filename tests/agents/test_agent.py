from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest

from agents.agent import Agent
from agents.errors import ContextOverflow, ReplyTruncated
from agents.model import ChatOptions, ChatRequest, Reply
from agents.profile import AgentProfile, AgentType
from agents.scripted import ScriptedModel
from workflows.task import Task, TaskInput

CATS = TaskInput(name="Cats", text="Cats sleep. Cats purr.\n\nThey eat fish. Cats hunt mice.")
DOGS = TaskInput(name="Dogs", text="Dogs bark.")


def agent(**more: Any) -> Agent:
    return Agent(AgentProfile(name="ann", type=AgentType.WRITER, model="m", **more))


def task(words: str = "Describe the animals.") -> Task:
    return Task(id=UUID(int=7), description=words)


def first_choices(request: ChatRequest) -> str | None:
    """Answer a schema of choices with the first of each."""
    if request.schema is None:
        return None
    return json.dumps({key: one["enum"][0] for key, one in request.schema["properties"].items()})


def test_without_texts_the_model_writes() -> None:
    model = ScriptedModel("Some words.")
    answer = agent().perform(task(), model=model)
    assert (answer.value, answer.calls) == ("Some words.", 1)
    assert answer.usage.generated > 0
    (asked,) = model.requests
    assert "Describe the animals." in asked.messages[-1].content
    assert (asked.options.seed, asked.schema) == (7, None)


def test_texts_and_results_are_all_read() -> None:
    model = ScriptedModel("Cats and dogs.")
    agent().perform(task(), [CATS], [DOGS], model=model)
    said = model.requests[0].messages[-1].content
    assert "## Cats\n\nCats sleep." in said
    assert "## Dogs\n\nDogs bark." in said


def test_one_text_needs_no_heading() -> None:
    model = ScriptedModel("Dogs.")
    agent().perform(task(), [DOGS], model=model)
    assert "##" not in model.requests[0].messages[-1].content


def test_the_limit_of_sentences_holds() -> None:
    model = ScriptedModel("One. Two. Three.")
    assert agent(sentences=2).perform(task(), model=model).value == "One. Two."
    assert "at most 2 sentences" in model.requests[0].messages[-1].content


def test_a_reply_that_was_cut_ends_with_a_whole_sentence() -> None:
    model = ScriptedModel(Reply("One. Two. Thr", done_reason="length"))
    assert agent(sentences=3).perform(task(), model=model).value == "One. Two."
    with pytest.raises(ReplyTruncated, match="num_predict of ann"):
        agent(sentences=3).perform(task(), model=ScriptedModel(Reply("On", done_reason="length")))


def test_without_a_limit_it_gets_more_room_once() -> None:
    cut = Reply("One. Tw", done_reason="length")
    model = ScriptedModel(cut, "One. Two.")
    answer = agent().perform(task(), model=model)
    assert (answer.value, answer.calls) == ("One. Two.", 2)
    assert [asked.options.num_predict for asked in model.requests] == [300, 600]
    with pytest.raises(ReplyTruncated):
        agent().perform(task(), model=ScriptedModel(cut, cut))


def test_quotes_are_the_text_in_its_own_words() -> None:
    model = ScriptedModel('{"1": "Cats purr.", "2": "Cats hunt mice."}')
    answer = agent(quotes=True, sentences=2).perform(task(), [CATS], model=model)
    assert answer.value == "Cats purr. Cats hunt mice."


def test_a_quote_that_is_none_is_asked_for_again() -> None:
    model = ScriptedModel('{"1": "Cats fly.", "2": "Cats hunt mice."}', rules=[first_choices])
    answer = agent(quotes=True, sentences=2).perform(task(), [CATS], model=model)
    assert (answer.value, answer.calls) == ("Cats sleep. Cats hunt mice.", 2)


def test_a_text_without_sentences_is_read_in_free_words() -> None:
    model = ScriptedModel("A table of prices.")
    prices = TaskInput(name="Prices", text="| fish | 3 |\n| milk | 1 |\n")
    assert agent(quotes=True).perform(task(), [prices], model=model).value == "A table of prices."


def test_results_are_assembled_below_what_matters_most() -> None:
    model = ScriptedModel(rules=[first_choices])
    answer = agent(joins="assemble").perform(task(), [], [CATS, DOGS], model=model)
    opening, *sections = answer.value.split("\n\n## ")
    assert opening == "**In short:** Cats sleep. Cats hunt mice. Dogs bark."
    assert sections == [f"Cats\n\n{CATS.text}", "Dogs\n\nDogs bark."]
    assert answer.calls == 1


def test_results_are_rewritten_by_a_model_that_can() -> None:
    model = ScriptedModel("Both are animals.")
    answer = agent(joins="rewrite").perform(task(), [], [CATS, DOGS], model=model)
    assert answer.value == "Both are animals."


@pytest.mark.parametrize("quotes", [True, False])
def test_a_long_text_is_read_in_pieces_and_none_is_left_out(quotes: bool) -> None:
    sentences = [f"Sentence number {number} has some words in it." for number in range(200)]
    seen: set[str] = set()

    def answer(request: ChatRequest) -> str:
        said = request.messages[-1].content
        seen.update(re.findall(r"Sentence number \d+ has some words in it\.", said))
        return first_choices(request) or "A short note."

    model = ScriptedModel(rules=[answer])
    long = TaskInput(name="Long", text="\n\n".join(sentences))
    reader = agent(quotes=quotes, sentences=3, reads=300)
    result = reader.perform(task(), [long], model=model)
    assert seen == set(sentences)
    assert result.calls == len(model.requests) > 10
    assert all(len(asked.messages[-1].content) < 1200 for asked in model.requests)


def test_a_text_that_does_not_get_shorter_ends_in_words() -> None:
    model = ScriptedModel(rules=[lambda asked: "word " * 400])
    with pytest.raises(ContextOverflow, match="short enough for ann"):
        agent(reads=50).perform(task(), [TaskInput(name="x", text="word " * 100)], model=model)


def test_no_room_for_any_text() -> None:
    small = agent(options=ChatOptions(num_ctx=300, num_predict=290))
    with pytest.raises(ContextOverflow, match="raise num_ctx"):
        small.perform(task(), [DOGS], model=ScriptedModel())


def test_what_the_model_says_is_heard() -> None:
    heard: list[str] = []
    agent().perform(task(), model=ScriptedModel("Some words."), on_text=heard.append)
    assert heard == ["Some words."]
