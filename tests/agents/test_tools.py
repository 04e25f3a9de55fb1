"""Tools: functions with typed arguments, and the box through which a model calls them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agents.errors import CallCancelled, InvalidTool, ToolFailed
from agents.model import ToolCall
from agents.tool import Tool
from agents.toolbox import LONGEST_ARGUMENTS, Bounds, Toolbox, ToolResult


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


class Box(BaseModel):
    width: int
    title: str = ""


def pack_goods(
    json: str, size: Size, boxes: list[Box], way: Literal["air", "sea"] = "sea", *, copy: int = 1
) -> str:
    """Pack goods for a journey.

    More about it.

    Args:
        json: What goes in.
        copy: How often.
    """
    return f"{json} {size.value} {boxes[0].width} {way} {copy}"


def test_the_schema_comes_from_annotations_and_docstring() -> None:
    tool = Tool.of(pack_goods)
    assert (tool.name, tool.network) == ("pack_goods", False)
    assert tool.description.startswith("Pack goods for a journey.")
    schema = tool.parameters
    assert schema["required"] == ["json", "size", "boxes"]
    assert schema["properties"]["json"] == {"type": "string", "description": "What goes in."}
    assert schema["properties"]["size"] == {"type": "string", "enum": ["s", "l"]}
    assert schema["properties"]["way"]["enum"] == ["air", "sea"]
    inner = schema["properties"]["boxes"]["items"]
    assert inner["properties"]["title"] == {"type": "string", "default": ""}
    assert "$" not in json.dumps(schema)
    assert schema["additionalProperties"] is False


def test_arguments_are_checked_before_the_function_is_called() -> None:
    tool = Tool.of(pack_goods)
    sound = {"json": "tea", "size": "s", "boxes": [{"width": 3}]}
    assert tool(sound) == "tea s 3 sea 1"
    assert tool({**sound, "copy": "2"}) == "tea s 3 sea 2"
    for wrong, words in [
        ({**sound, "size": "xl"}, "size: Input should be 's' or 'l'"),
        ({"json": "tea"}, "size: Field required; boxes: Field required"),
        ({**sound, "more": 1}, "more: Extra inputs are not permitted"),
        ([1], "valid dictionary"),
        (None, "valid dictionary"),
    ]:
        with pytest.raises(ToolFailed, match=words):
            tool(wrong)


def test_what_a_function_gives_becomes_text() -> None:
    def given(kind: str) -> Any:
        """Give something."""
        return {"text": "é", "none": None, "dict": {"a": [1]}, "half": "\ud800\0", "no": object()}[
            kind
        ]

    tool = Tool.of(given)
    said = {kind: tool({"kind": kind}) for kind in ("text", "none", "dict", "half")}
    assert said == {"text": "é", "none": "null", "dict": '{"a": [1]}', "half": "? "}
    with pytest.raises(ToolFailed, match="no JSON"):
        tool({"kind": "no"})


class Nested(BaseModel):
    inner: Nested | None = None


def test_what_cannot_be_a_tool_says_why() -> None:
    def silent(a: int) -> int:
        return a

    def bare(a) -> int:  # type: ignore[no-untyped-def]
        """Bare."""
        return int(a)

    def many(*numbers: int) -> int:
        """Many."""
        return sum(numbers)

    def odd(a: threading.Event) -> int:
        """Odd."""
        return 1

    def deep(a: Nested) -> int:
        """Deep."""
        return 1

    async def later() -> int:
        """Later."""
        return 1

    faults: list[tuple[Callable[..., Any], str]] = [
        (silent, "give it a docstring"),
        (bare, "does not say what a is"),
        (many, r"takes \*numbers"),
        (odd, "annotations of the tool odd cannot be read"),
        (deep, "takes Nested, which holds itself"),
        (later, "is a coroutine"),
        (lambda: 1, "no name of a tool"),
    ]
    for function, words in faults:
        with pytest.raises(InvalidTool, match=words):
            Tool.of(function)


def test_annotations_may_say_more() -> None:
    def pick(number: Annotated[int, Field(ge=1, le=9, description="Which one.")] = 3) -> int:
        """Pick one."""
        return number

    tool = Tool.of(pick)
    assert tool.parameters["properties"]["number"] == {
        "type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "Which one.",
    }  # fmt: skip
    assert tool.signature == "pick(number=3): Pick one."
    with pytest.raises(ToolFailed, match="less than or equal to 9"):
        tool({"number": 10})


def echo(text: str) -> str:
    """Say it again."""
    return text


def call(tool: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(tool, json.dumps(arguments))


def test_only_what_was_put_in_is_called() -> None:
    box = Toolbox([Tool.of(echo)], barred={"shell": "the agent has no tool 'shell'"})
    assert box.call(call("echo", text="hello")) == ToolResult("hello")
    refused = box.call(call("shell", text="rm")).refused
    assert refused == "the agent has no tool 'shell': this task may use echo"
    unknown = box.call(call("other"))
    assert unknown.refused == "there is no tool 'other': this task may use echo"
    assert unknown.text == f"Refused: {unknown.refused}"
    assert [result.refused is None for _, result in box.calls] == [True, False, False]
    assert Toolbox().call(call("echo", text="a")).refused is not None


def test_wrong_arguments_and_errors_are_told() -> None:
    def broken(a: int = 0) -> None:
        """Break."""
        raise KeyError("no\nkey")

    box = Toolbox([Tool.of(echo), Tool.of(broken)])
    assert box.call(call("echo")) == ToolResult(
        "Error: the arguments do not fit: text: Field required", failed=True
    )
    assert box.call(call("broken")).text == "Error: broken failed: KeyError: 'no\\nkey'"
    assert "are no JSON" in box.call(ToolCall("echo", "{")).text


@pytest.mark.parametrize(
    "arguments",
    [
        "[" * 100_000,
        '{"text": ' + "[" * 50 + "]" * 50 + "}",
        json.dumps({"text": "x" * LONGEST_ARGUMENTS}),
    ],
    ids=["endless", "deep", "long"],
)
def test_oversized_and_nested_arguments_are_refused_unseen(arguments: str) -> None:
    result = Toolbox([Tool.of(echo)]).call(ToolCall("echo", arguments))
    assert result.refused is not None
    assert "arguments" in result.refused


def test_brackets_in_texts_are_no_nesting() -> None:
    text = '["\\"' + "[{" * 100
    assert Toolbox([Tool.of(echo)]).call(call("echo", text=text)).text == text


def test_a_result_that_is_too_large_is_refused() -> None:
    box = Toolbox([Tool.of(echo)], bounds=Bounds(largest=10))
    assert box.call(call("echo", text="é" * 5)).refused is None
    assert "11 bytes and at most 10" in str(box.call(call("echo", text="é" * 5 + "x")).refused)


def test_nobody_waits_for_a_tool_for_ever() -> None:
    forever = threading.Event()

    def wait() -> str:
        """Wait."""
        forever.wait(10)
        return "late"

    box = Toolbox([Tool.of(wait)], bounds=Bounds(seconds=0.2))
    assert box.call(call("wait")).text == "Error: wait took longer than 0.2 s"
    cancel = threading.Event()
    box = Toolbox([Tool.of(wait)], cancel=cancel)
    threading.Timer(0.1, cancel.set).start()
    begun = time.monotonic()
    with pytest.raises(CallCancelled):
        box.call(call("wait"))
    assert time.monotonic() - begun < 2
    with pytest.raises(CallCancelled):
        box.call(call("wait"))
    forever.set()


def test_a_name_that_nobody_could_store_is_made_storable() -> None:
    box = Toolbox()
    box.call(ToolCall("a\0b\ud800" + "c" * 1000, "{}"))
    box.call(ToolCall("", "{}"))
    assert [made.name for made, _ in box.calls] == ["ab" + "c" * 60, "?"]
