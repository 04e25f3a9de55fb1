"""A model server that answers at once, and remembers when it was asked what."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.model_server import ModelServer, streamed


class AnsweringModel(ModelServer):
    """Every chat is answered with one sentence.

    `say` may answer otherwise, given the body of the chat. `asked` holds (moment, last words of the
    prompt) of every chat; moments are of `time.time`.
    """

    def __init__(
        self, seconds: float = 0.05, say: Callable[[dict[str, Any]], str] = lambda _: "It is so."
    ) -> None:
        super().__init__()
        self.asked: list[tuple[float, str]] = []
        self._seconds, self._answer = seconds, say

    def chat(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Remember what was asked, and answer."""
        words = "\n".join(message["content"] for message in body["messages"])
        self.asked.append((time.time(), words))
        time.sleep(self._seconds)
        return streamed(body["model"], self._answer(body), prompt_eval_count=10, eval_count=3)
