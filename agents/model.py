"""The narrow door to a chat model: one method, and the plain values that pass through it.

Invariant: everything here is frozen and made of JSON values, so a request has one digest for ever
and a reply that was recorded is read back equal.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, Literal, Protocol, Self

__all__ = ["ChatModel", "ChatOptions", "ChatRequest", "Message", "Reply", "ToolCall", "Usage"]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class ToolCall:
    """A model's wish to use a tool. `arguments` are JSON text, as yet unread."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    `tool_calls` are what an assistant's turn asked for; `tool_name` is whose result a tool's turn is.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the turn as JSON values, without what it does not have."""
        return {key: value for key, value in asdict(self).items() if value or key == "content"}


@dataclass(frozen=True)
class ChatOptions:
    """How the model is to answer; the names are Ollama's.

    `num_ctx` (tokens) must be the same in every request to a model: a server loads the model anew
    when it changes. `num_predict` is the most tokens of an answer.
    """

    num_ctx: int = 4096
    num_predict: int = 300
    temperature: float = 0.0
    seed: int = 0
    top_k: int = 40
    top_p: float = 0.9
    repeat_penalty: float = 1.0


@dataclass(frozen=True)
class ChatRequest:
    """A question to a model. `schema` is the JSON schema that the answer must follow, if any.

    `tools` are those that it may call, each as name, description and the JSON schema `parameters`.
    """

    model: str
    messages: tuple[Message, ...]
    schema: dict[str, Any] | None = None
    options: ChatOptions = ChatOptions()
    tools: tuple[dict[str, Any], ...] = ()

    def digest(self) -> str:
        """Return the sha256 of the request; equal requests have equal digests, on any machine."""
        values = asdict(self) | {"messages": [message.to_json() for message in self.messages]}
        # What was recorded before there were tools is to be found again.
        if not self.tools:
            del values["tools"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Usage:
    """What calls took: tokens read and written, and seconds for loading, reading and writing."""

    prompt: int = 0
    generated: int = 0
    load_seconds: float = 0.0
    prompt_seconds: float = 0.0
    generate_seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.generated + other.generated,
            self.load_seconds + other.load_seconds,
            self.prompt_seconds + other.prompt_seconds,
            self.generate_seconds + other.generate_seconds,
        )

    @classmethod
    def total(cls, *parts: Usage) -> Usage:
        """Return the sum of all parts."""
        return reduce(add, parts, Usage())


@dataclass(frozen=True)
class Reply:
    """A whole reply. `done_reason` is "stop", or "length" when it reached `num_predict`.

    Where the model wishes to use tools, `tool_calls` say which, and `text` may be empty.
    """

    text: str
    usage: Usage = Usage()
    model: str = ""
    host: str = ""
    done_reason: Literal["stop", "length"] = "stop"
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether the model was stopped before it had finished."""
        return self.done_reason == "length"

    def to_json(self) -> dict[str, Any]:
        """Return the reply as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make the reply of which `to_json` gave `data`."""
        calls = tuple(ToolCall(**call) for call in data.get("tool_calls", ()))
        return cls(**{**data, "usage": Usage(**data["usage"]), "tool_calls": calls})


class ChatModel(Protocol):
    """Whatever answers a request: a server, a script, or a record of earlier answers."""

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Reply:
        """Return the whole reply.

        `on_text` is given the text piece by piece as it arrives, in the caller's thread. Setting
        `cancel` ends the call within a second, with `CallCancelled`. Raises `AgentError`.
        """
        ...
