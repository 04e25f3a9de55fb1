"""How a model is offered tools, and how its wish to use one is read.

`native` is Ollama's own tool calling, for models that were taught it. `schema` is for all others: what
they say is JSON by a schema, which either names a tool or is the answer, so that even the smallest
model calls a tool that there is, with arguments of the right form.

Invariant: a reply that is read is a list of calls or an answer, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agents.answers import Form, find_json
from agents.model import ChatRequest, Message, Reply, ToolCall
from agents.tool import Tool
from agents.toolbox import LONGEST_ARGUMENTS

__all__ = ["FORMS", "Said", "ToolForm"]

# In this order also where a server hands properties to the model by the alphabet.
_TOOL, _WITH, _ANSWER = "tool", "with", "answer"
_TEXT = {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Said:
    """What a reply comes to: calls of tools, or without any the answer."""

    calls: tuple[ToolCall, ...] = ()
    answer: str = ""


class ToolForm(Protocol):
    """One way to talk about tools."""

    def manual(self, tools: Sequence[Tool]) -> str:
        """Return what the model is told in words."""
        ...

    def offered(self, request: ChatRequest, tools: Sequence[Tool]) -> ChatRequest:
        """Return the request with the tools in it."""
        ...

    def read(self, reply: Reply, tools: Sequence[Tool]) -> Said:
        """Read a reply; raise ValueError in words that the model can act on."""
        ...

    def asked(self, reply: Reply, calls: Sequence[ToolCall]) -> Message:
        """Return the model's turn in which it called, for the conversation."""
        ...

    def told(self, call: ToolCall, text: str) -> Message:
        """Return the turn that tells the result of a call."""
        ...

    @property
    def last(self) -> Form[str] | None:
        """The form of an answer after which no tool is used; None for plain words."""
        ...


class _Native:
    def manual(self, tools: Sequence[Tool]) -> str:
        return "Call a tool whenever it can tell you what you do not know."

    def offered(self, request: ChatRequest, tools: Sequence[Tool]) -> ChatRequest:
        return replace(request, tools=tuple(tool.offer for tool in tools))

    def read(self, reply: Reply, tools: Sequence[Tool]) -> Said:
        calls = reply.tool_calls or _bare_call(reply.text, tools)
        return Said(calls) if calls else Said(answer=reply.text)

    def asked(self, reply: Reply, calls: Sequence[ToolCall]) -> Message:
        text = reply.text if reply.tool_calls else ""
        return Message("assistant", text, tuple(map(_sendable, calls)))

    def told(self, call: ToolCall, text: str) -> Message:
        return Message("tool", text, tool_name=call.name)

    @property
    def last(self) -> None:
        return None


class _BySchema:
    def manual(self, tools: Sequence[Tool]) -> str:
        listed = "\n".join(f"- {tool.signature}" for tool in tools)
        return (
            'Answer in JSON. To use a tool: {"tool": NAME, "with": {ARGUMENTS}}. '
            f'When you know enough: {{"answer": TEXT}}. The tools are:\n{listed}'
        )

    def offered(self, request: ChatRequest, tools: Sequence[Tool]) -> ChatRequest:
        answer = _object({_ANSWER: _TEXT})
        calls = [
            _object({_TOOL: {"type": "string", "enum": [tool.name]}, _WITH: tool.parameters})
            for tool in tools
        ]
        return replace(request, schema={"anyOf": [*calls, answer]})

    def read(self, reply: Reply, tools: Sequence[Tool]) -> Said:
        try:
            data, _ = find_json(reply.text)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        if isinstance(data, dict) and isinstance(name := data.get(_TOOL), str):
            return Said((ToolCall(name, _as_json(data.get(_WITH, {}))),))
        if (
            isinstance(data, dict)
            and isinstance(answer := data.get(_ANSWER), str)
            and answer.strip()
        ):
            return Said(answer=answer)
        raise ValueError(f'it has neither "{_TOOL}" nor "{_ANSWER}"')

    def asked(self, reply: Reply, calls: Sequence[ToolCall]) -> Message:
        call = _sendable(calls[0])
        return Message(
            "assistant", f'{{"{_TOOL}": {json.dumps(call.name)}, "{_WITH}": {call.arguments}}}'
        )

    def told(self, call: ToolCall, text: str) -> Message:
        return Message("user", f"Result of {call.name}:\n{text}")

    @property
    def last(self) -> Form[str]:
        return Form(_object({_ANSWER: _TEXT}), _answer)


def _answer(data: Any) -> str:
    if isinstance(data, dict) and isinstance(answer := data.get(_ANSWER), str) and answer.strip():
        return answer
    raise ValueError(f'it has no text as "{_ANSWER}"')


def _bare_call(text: str, tools: Sequence[Tool]) -> tuple[ToolCall, ...]:
    """Return the call that some models write as bare JSON where the server does not take it up."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    names = {tool.name for tool in tools}
    if (
        not isinstance(data, dict)
        or data.keys() != {"name", "arguments"}
        or data["name"] not in names
    ):
        return ()
    return (ToolCall(data["name"], _as_json(data["arguments"])),)


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        # Deeper than any call may be; it is refused for that when it is made.
        return "[" * 100


def _sendable(call: ToolCall) -> ToolCall:
    """Return the call as the model may be reminded of it, short and well formed."""
    try:
        given = json.loads(call.arguments) if len(call.arguments) <= LONGEST_ARGUMENTS else None
    except (ValueError, RecursionError):
        given = None
    return call if isinstance(given, dict) else ToolCall(call.name, "{}")


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


#: By the name that stands in a profile.
FORMS: dict[str, ToolForm] = {"native": _Native(), "schema": _BySchema()}
