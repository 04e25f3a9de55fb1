"""Models that use tools before they answer: both forms, every bound, and what is recorded and replayed."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

import ollama
import pytest
from pydantic import Field

from agents.agent import Agent, Answer
from agents.context import estimate_request, room_for
from agents.errors import CallCancelled, ModelRefused, UnreadableAnswer
from agents.model import ChatOptions, ChatRequest, Message, Reply, ToolCall
from agents.ollama import OllamaModel
from agents.profile import AgentProfile, AgentType
from agents.scripted import Answers, ScriptedModel
from agents.tool import Tool
from agents.toolbox import Bounds, Toolbox, ToolResult
from agents.tools.arithmetic import calculate
from agents.turns import offer_of
from tests.agents.conftest import Serve
from tests.agents.ollama_server import Answer as Said
from tests.agents.ollama_server import done, line, refusal, whole
from workflows.task import Task, TaskInput

TEXT = TaskInput(name="Mill", text="The mill was built in 1804.")


def echo(text: str) -> str:
    """Say it again."""
    return text


def box(**more: Any) -> Toolbox:
    return Toolbox([Tool.of(calculate), Tool.of(echo)], **more)


def perform(
    model: ScriptedModel | OllamaModel,
    toolbox: Toolbox,
    *,
    form: str = "native",
    inputs: tuple[TaskInput, ...] = (TEXT,),
    output: dict[str, Any] | None = None,
    **profile: Any,
) -> Answer:
    values = {"name": "ann", "type": AgentType.WRITER, "model": "m", "tool_form": form, **profile}
    agent = Agent(AgentProfile.model_validate(values))
    task = Task(id=UUID(int=7), description="How old is it?", output=output)
    return agent.perform(task, inputs, model=model, toolbox=toolbox)


def native(*calls: tuple[str, Any], text: str = "") -> Reply:
    made = tuple(ToolCall(name, json.dumps(arguments)) for name, arguments in calls)
    return Reply(text, tool_calls=made)


def by_schema(name: str, **arguments: Any) -> str:
    return json.dumps({"tool": name, "with": arguments})


AGE = {"expression": "2024 - 1804"}


def test_a_native_model_calls_and_then_answers() -> None:
    model = ScriptedModel(
        native(("calculate", AGE), ("echo", {"text": "a"})), "It is 220 years old."
    )
    toolbox = box()
    answer = perform(model, toolbox)
    assert (answer.value, answer.calls) == ("It is 220 years old.", 2)
    first, second = model.requests
    assert [tool["name"] for tool in first.tools] == ["calculate", "echo"]
    assert first.schema is None
    assert "built in 1804" in first.messages[-1].content
    assert second.tools == first.tools
    turn, *told = second.messages[len(first.messages) :]
    assert [call.name for call in turn.tool_calls] == ["calculate", "echo"]
    assert told == [
        Message("tool", "220", tool_name="calculate"),
        Message("tool", "a", tool_name="echo"),
    ]
    assert [result.text for _, result in toolbox.calls] == ["220", "a"]


def test_a_model_without_tools_of_its_own_decides_by_schema() -> None:
    model = ScriptedModel(by_schema("calculate", **AGE), '{"answer": "It is 220 years old."}')
    assert perform(model, box(), form="schema").value == "It is 220 years old."
    first, second = model.requests
    assert first.tools == ()
    assert first.schema is not None
    *tools, answer = first.schema["anyOf"]
    assert [one["properties"]["tool"]["enum"] for one in tools] == [["calculate"], ["echo"]]
    assert tools[0]["properties"]["with"]["required"] == ["expression"]
    assert list(answer["properties"]) == ["answer"]
    assert "- calculate(expression): Calculate with" in first.messages[0].content
    assert second.messages[-1] == Message("user", "Result of calculate:\n220")


def test_an_answer_at_once_needs_no_tool() -> None:
    assert perform(ScriptedModel("Old."), box()).value == "Old."
    assert perform(ScriptedModel('{"answer": "Old."}'), box(), form="schema").value == "Old."


@pytest.mark.parametrize("form", ["native", "schema"])
def test_whatever_goes_wrong_is_told_and_the_model_goes_on(form: str) -> None:
    wrong = [("rm", {}), ("calculate", {"formula": "1"}), ("calculate", {"expression": "9**9**9"})]
    asked: list[Answers] = [
        native(one) if form == "native" else by_schema(one[0], **one[1]) for one in wrong
    ]
    last = "Old." if form == "native" else '{"answer": "Old."}'
    model, toolbox = ScriptedModel(*asked, last), box()
    assert perform(model, toolbox, form=form).value == "Old."
    told = [request.messages[-1].content for request in model.requests[1:]]
    assert "Refused: there is no tool 'rm': this task may use calculate, echo" in told[0]
    assert "Error: the arguments do not fit: expression: Field required" in told[1]
    assert "Refused: the number grows too large" in told[2]
    assert [bool(result.refused) for _, result in toolbox.calls] == [True, False, True]


def numbered(form: str) -> ScriptedModel:
    """A model that never has enough."""

    def more(request: ChatRequest) -> Answers | None:
        if request.tools:
            return native(("echo", {"text": str(len(request.messages))}))
        if request.schema and "anyOf" in request.schema:
            return by_schema("echo", text=str(len(request.messages)))
        return '{"answer": "At last."}' if request.schema else "At last."

    return ScriptedModel(rules=[more])


@pytest.mark.parametrize("form", ["native", "schema"])
def test_the_rounds_end_and_then_it_must_answer(form: str) -> None:
    model, toolbox = numbered(form), box(bounds=Bounds(rounds=3))
    answer = perform(model, toolbox, form=form)
    assert (answer.value, answer.calls, len(toolbox.calls)) == ("At last.", 4, 3)
    assert "You can use no more tools." in model.requests[-1].messages[-1].content
    assert model.requests[-1].tools == ()


def test_who_says_nothing_in_the_end_is_a_clear_error() -> None:
    model = ScriptedModel(native(("echo", {"text": "a"})), " ")
    with pytest.raises(UnreadableAnswer, match="answered nothing"):
        perform(model, box(bounds=Bounds(rounds=1)))
    no = ScriptedModel(rules=[lambda _: "no JSON"])
    with pytest.raises(UnreadableAnswer, match="no usable answer in 3 tries"):
        perform(no, box(bounds=Bounds(rounds=2)), form="schema")
    assert len(no.requests) == 5


def test_who_only_repeats_himself_is_told_to_answer() -> None:
    again = native(("calculate", AGE))
    model, toolbox = ScriptedModel(again, again, "220."), box()
    assert perform(model, toolbox).value == "220."
    assert len(toolbox.calls) == 1


def test_calls_in_one_turn_are_counted() -> None:
    many = native(*[("echo", {"text": str(n)}) for n in range(50)])
    toolbox = box()
    assert perform(ScriptedModel(many, "Done."), toolbox).value == "Done."
    assert [bool(result.refused) for _, result in toolbox.calls] == [False] * 8 + [True]
    assert toolbox.calls[-1][1].refused == "at most 8 calls are done in one turn"


def test_a_long_result_is_cut_with_notice_and_can_be_read_on() -> None:
    words = "word " * 10_000

    def book(start: int = 0) -> str:
        """Read the book."""
        return words[start:]

    model = ScriptedModel(native(("book", {})), native(("book", {"start": 6})), "Long.")
    perform(model, Toolbox([Tool.of(book)]), options=ChatOptions(num_ctx=2048))
    told = model.requests[1].messages[-1].content
    assert f"of {len(words)} letters: if the tool has the argument start" in told
    assert len(told) > 1000
    assert all(room_for(request) >= 0 for request in model.requests)


def test_a_full_window_ends_the_use_of_tools() -> None:
    def long(number: int) -> str:
        """Say much."""
        return f"{number} " * 5000

    rules = [
        lambda asked: (
            native(("long", {"number": len(asked.messages)})) if asked.tools else "Enough."
        )
    ]
    model, toolbox = ScriptedModel(rules=rules), Toolbox([Tool.of(long)], bounds=Bounds(rounds=50))
    options = ChatOptions(num_ctx=1500, num_predict=200)
    assert perform(model, toolbox, options=options).value == "Enough."
    assert 1 <= len(toolbox.calls) < 10
    assert all(room_for(request) >= 0 for request in model.requests)


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"tool": "echo", "with": ' + "[" * 5000])
def test_nested_replies_do_no_harm(nested: str) -> None:
    model = ScriptedModel(nested, '{"answer": "Old."}', rules=[lambda _: '{"answer": "Old."}'])
    assert perform(model, box(), form="schema").value == "Old."
    deep = Reply("", tool_calls=(ToolCall("echo", nested),))
    toolbox = box()
    assert perform(ScriptedModel(deep, "Old."), toolbox).value == "Old."
    assert "arguments" in str(toolbox.calls[0][1].refused)


def test_a_call_as_bare_json_is_understood() -> None:
    bare = json.dumps({"name": "calculate", "arguments": AGE})
    toolbox = box()
    assert perform(ScriptedModel(bare, "220."), toolbox).value == "220."
    assert toolbox.calls[0][1].text == "220"
    other = json.dumps({"name": "Ann", "arguments": "none"})
    assert perform(ScriptedModel(other), box()).value == other


OUTPUT = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def test_an_output_is_given_after_the_tools() -> None:
    model = ScriptedModel(native(("calculate", AGE)), "It is 220.", '{"answer": {"age": 220}}')
    assert perform(model, box(), output=OUTPUT).value == {"age": 220}
    assert [message.role for message in model.requests[-1].messages[-2:]] == ["assistant", "user"]
    assert model.requests[-1].schema is not None
    at_once = ScriptedModel(native(("calculate", AGE)), '{"answer": {"age": 220}}')
    assert perform(at_once, box(), output=OUTPUT).value == {"age": 220}
    model = ScriptedModel(
        by_schema("calculate", **AGE), '{"answer": "220"}', '{"answer": {"age": 220}}'
    )
    assert perform(model, box(), form="schema", output=OUTPUT).value == {"age": 220}


def test_the_limit_of_sentences_holds() -> None:
    assert perform(ScriptedModel("One. Two. Three."), box(), sentences=2).value == "One. Two."


def test_without_a_tool_everything_is_as_it_was() -> None:
    with_box, without = ScriptedModel("Old."), ScriptedModel("Old.")
    perform(with_box, Toolbox())
    agent = Agent(AgentProfile(name="ann", type=AgentType.WRITER, model="m"))
    agent.perform(Task(id=UUID(int=7), description="How old is it?"), [TEXT], model=without)
    assert with_box.requests == without.requests


def test_cancelling_ends_a_call_under_way() -> None:
    begun, cancel = threading.Event(), threading.Event()

    def wait() -> str:
        """Wait."""
        begun.set()
        cancel.wait(10)
        threading.Event().wait(5)
        return "late"

    def end() -> None:
        begun.wait(5)
        cancel.set()

    threading.Thread(target=end).start()
    with pytest.raises(CallCancelled):
        perform(ScriptedModel(native(("wait", {}))), Toolbox([Tool.of(wait)], cancel=cancel))


class Notebook:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[str, ToolResult]] = {}

    def find(self, number: int, digest: str) -> ToolResult | None:
        found = self.kept.get(number)
        return found[1] if found and found[0] == digest else None

    def keep(self, number: int, digest: str, call: ToolCall, result: ToolResult) -> None:
        assert number not in self.kept
        self.kept[number] = (digest, result)


def test_recorded_results_are_replayed() -> None:
    called: list[str] = []

    def note(text: str) -> str:
        """Note it."""
        called.append(text)
        return f"noted {len(called)}"

    notebook = Notebook()
    first = Toolbox([Tool.of(note)], ledger=notebook)
    script: list[Answers] = [
        native(("note", {"text": "a"}), ("rm", {})),
        native(("note", {"text": "b"})),
        "Done.",
    ]
    before = ScriptedModel(*script)
    perform(before, first)
    # All but the last are recorded: as when a worker dies before its third call is.
    del notebook.kept[2]
    again = Toolbox([Tool.of(note)], ledger=notebook)
    after = ScriptedModel(*script)
    perform(after, again)
    assert called == ["a", "b", "b"]
    assert [request.digest() for request in before.requests[:2]] == [
        request.digest() for request in after.requests[:2]
    ]
    assert first.calls[:2] == again.calls[:2]


# Over the wire


def test_ollama_is_told_of_tools_in_its_own_words(serve: Serve) -> None:
    call = {"function": {"name": "calculate", "arguments": AGE}}
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    server = serve(Said((line(model="m", message=message, done=False), done())), whole("220."))
    toolbox = box()
    assert perform(OllamaModel([server.host]), toolbox).value == "220."
    assert toolbox.calls == [(ToolCall("calculate", json.dumps(AGE)), ToolResult("220"))]
    first, second = (asked.body for asked in server.requests)
    offered = first["tools"][0]
    assert offered["type"] == "function"
    assert offered["function"]["name"] == "calculate"
    assert offered["function"]["parameters"]["required"] == ["expression"]
    assert second["messages"][-2]["tool_calls"][0]["function"]["arguments"] == AGE
    assert second["messages"][-1] == {"role": "tool", "tool_name": "calculate", "content": "220"}


def test_the_client_drops_nothing_that_a_schema_says() -> None:
    def send(
        crates: Annotated[int, Field(ge=1, description="How many.")],
        to: dict[str, int],
        by: Literal["air", "sea"] = "sea",
        note: str | None = None,
    ) -> str:
        """Send crates."""
        return f"{crates} {to} {by} {note}"

    offered = ollama.Tool.model_validate(offer_of(Tool.of(send).offer)).model_dump(
        exclude_none=True
    )
    given = offered["function"]["parameters"]["properties"]
    assert given["crates"]["description"] == (
        'How many. As this JSON schema says: {"minimum": 1, "type": "integer"}.'
    )
    assert '"additionalProperties": {"type": "integer"}' in given["to"]["description"]
    assert given["by"] == {
        "type": "string",
        "enum": ["air", "sea"],
        "description": 'Unless given: "sea".',
    }
    assert given["note"] == {"type": "string"}


def test_a_model_that_cannot_is_told_of_the_other_form(serve: Serve) -> None:
    server = serve(refusal(400, "registry.ollama.ai/library/m does not support tools"))
    with pytest.raises(ModelRefused, match="give its agents tool_form: schema"):
        perform(OllamaModel([server.host]), box())


# Values


def test_the_digest_of_a_request_without_tools_is_what_it_was() -> None:
    request = ChatRequest(
        "m", (Message("system", "x"), Message("user", "")), {"a": 1}, ChatOptions(seed=4)
    )
    assert request.digest() == "6a2b46febe54c9ecf0c1ac8b97699e445fca0a83390429c7232b0700c0ce32b4"
    more = replace(request, tools=(Tool.of(calculate).offer,))
    assert more.digest() != request.digest()
    assert estimate_request(more) > estimate_request(request)


def test_a_reply_with_calls_survives_json() -> None:
    reply = native(("calculate", AGE), text="a")
    assert Reply.from_json(json.loads(json.dumps(reply.to_json()))) == reply
    older = {key: value for key, value in reply.to_json().items() if key != "tool_calls"}
    assert Reply.from_json(older) == replace(reply, tool_calls=())
