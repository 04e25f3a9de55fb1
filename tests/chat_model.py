"""A model server whose answers are a function of the test: what the model servers of tests have in common."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from celery_app.testing.model import StandIn, Unanswered, spoken

__all__ = ["ChatModel"]


class ChatModel:
    """Ollama's protocol on a free port: every chat is answered with what `reply` says of it.

    Args:
        model: The model that it says it has.
        capabilities: What it says that the model can.
    """

    def __init__(
        self, model: str = "smollm2:135m", capabilities: tuple[str, ...] = ("completion",)
    ) -> None:
        self._server = StandIn(self, [model], capabilities)
        self.address = self._server.address

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a chat: its `message` and what is counted."""
        raise NotImplementedError

    def answer(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        """Yield the lines of an answer."""
        if path != "/api/chat":
            raise Unanswered(f"this model only chats; it is asked for {path}")
        return spoken(body, self.reply(body))

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, traceback)
