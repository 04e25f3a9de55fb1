"""A model server that answers at once, and remembers when it was asked what."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.chat_model import ChatModel, words_of


class AnsweringModel(ChatModel):
    """Every chat is answered with one sentence.

    `say` may answer otherwise, given the body of the chat. `asked` holds (moment, last words of the
    prompt) of every chat; moments are of `time.time`.
    """

    def __init__(
        self, seconds: float = 0.05, say: Callable[[dict[str, Any]], str] = lambda _: "It is so."
    ) -> None:
        super().__init__()
        self.asked: list[tuple[float, str]] = []
        self._seconds = seconds
        self._say = say

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((time.time(), words_of(body)))
        time.sleep(self._seconds)
        counts = {"prompt_eval_count": 10, "eval_count": 3}
        return {"message": {"content": self._say(body)}, **counts}
