"""A model server that answers as a test says, and says how long it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.model_server import ModelServer, streamed

#: What the server says of each call: nanoseconds, and tokens.
READING, WRITING = 40_000_000, 20_000_000
PROMPT_TOKENS, GENERATED_TOKENS = 10, 3
COLD, WARM = 900_000_000, 12_000_000


class MeasuredModel(ModelServer):
    """Tells figures of each chat.

    `answer` is given all words of a chat and how many chats there were before. Only the first chat has to
    load the model. Each takes `seconds`.
    """

    def __init__(self, answer: Callable[[str, int], str], seconds: float = 0.0) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._answer, self._seconds = answer, seconds
        self._lock = threading.Lock()

    def chat(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Remember what was asked, and answer."""
        words = "\n".join(message["content"] for message in body["messages"])
        with self._lock:
            number = len(self.asked)
            self.asked.append(words)
        time.sleep(self._seconds)
        return streamed(
            body["model"],
            self._answer(words, number),
            load_duration=WARM if number else COLD,
            prompt_eval_count=PROMPT_TOKENS,
            prompt_eval_duration=READING,
            eval_count=GENERATED_TOKENS,
            eval_duration=WRITING,
        )
