"""`Meter`: a chat model that counts what passes through it.

Invariant: it changes neither questions nor answers, and counts every reply, also those that are
not used in the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from agents.model import ChatModel, ChatRequest, Reply, Usage

__all__ = ["Meter"]


class Meter:
    """Passes requests on to `model`; `calls` and `usage` are what they took so far.

    One meter belongs to one piece of work, with the listener and the cancel event of that work.
    """

    def __init__(
        self,
        model: ChatModel,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.calls = 0
        self.usage = Usage()
        self._model = model
        self._on_text = on_text
        self._cancel = cancel

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Reply:
        """Return the model's reply, and count it."""
        reply = self._model.chat(
            request, on_text=on_text or self._on_text, cancel=cancel or self._cancel
        )
        self.calls += 1
        self.usage += reply.usage
        return reply
