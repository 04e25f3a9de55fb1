"""A model server that can call tools: every chat is answered as a function of the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chat_model import ChatModel

#: Given the body of a chat: the answer in words, or the calls as (name, arguments).
Decide = Callable[[dict[str, Any]], str | list[tuple[str, dict[str, Any]]]]


class ToolModel(ChatModel):
    """`asked` are the bodies of all chats."""

    def __init__(self, decide: Decide) -> None:
        super().__init__("m:latest", ("completion", "tools"))
        self.asked: list[dict[str, Any]] = []
        self._decide = decide

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        decided = self._decide(body)
        message: dict[str, Any] = {"content": ""}
        if isinstance(decided, str):
            message["content"] = decided
        else:
            message["tool_calls"] = [
                {"function": {"name": name, "arguments": given}} for name, given in decided
            ]
        return {"message": message, "prompt_eval_count": 9, "eval_count": 3}
