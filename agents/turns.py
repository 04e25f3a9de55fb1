"""Turns and tools in the words of Ollama's client.

Invariant: nothing that a schema says of an argument is lost. The client passes on only some of it; what
it would drop is told in the argument's description.
"""

from __future__ import annotations

import json
from typing import Any

import ollama

from agents.model import Message, ToolCall

__all__ = ["call_of", "offer_of", "turn_of"]

_PASSED_ON = {"type", "items", "enum", "description"}


def turn_of(message: Message) -> dict[str, Any]:
    """Return a turn, with the arguments of its calls as objects."""
    turn = message.to_json()
    if message.tool_calls:
        turn["tool_calls"] = [
            {"function": {"name": call.name, "arguments": json.loads(call.arguments)}}
            for call in message.tool_calls
        ]
    return turn


def call_of(call: ollama.Message.ToolCall) -> ToolCall:
    """Return a call that a model wishes for."""
    return ToolCall(call.function.name, json.dumps(call.function.arguments))


def offer_of(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool of a request."""
    parameters = tool["parameters"]
    given = {key: _argument(value) for key, value in parameters["properties"].items()}
    return {
        "type": "function",
        "function": {**tool, "parameters": {**parameters, "properties": given}},
    }


def _argument(schema: dict[str, Any]) -> dict[str, Any]:
    schema = _without_null(schema)
    default = schema.pop("default", None)
    words = [schema["description"]] if "description" in schema else []
    if schema.keys() - _PASSED_ON:
        rest = {key: value for key, value in schema.items() if key != "description"}
        words.append(f"As this JSON schema says: {json.dumps(rest)}.")
    if default is not None:
        words.append(f"Unless given: {json.dumps(default)}.")
    return {**schema, "description": " ".join(words)} if words else schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an argument that may be left out, as it is where it is given."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return dict(schema)
    return {**kinds[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
