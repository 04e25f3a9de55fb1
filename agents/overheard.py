"""`Overheard`: a planner's model, of whose answer each step is known as soon as it has been said.

Invariant: what is told is the beginning of what the model says, read and checked as far as a beginning
can be; whether the whole of it is a plan is for whoever asked to judge. Questions and answers pass
unchanged, and an answer that nobody hears (it was recorded before) tells nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from agents.model import ChatModel, ChatRequest, Reply
from workflows.plan import PlanStep

__all__ = ["Overheard"]


class Overheard:
    """Passes requests on to `model`, and listens to its answers.

    Args:
        model: What is really asked.
        begun: Reads the steps from the beginning of an answer; raises ValueError if that is no plan's.
        tell: Is given all steps that have been said, each time there are more, in the thread of the call.
    """

    def __init__(
        self,
        model: ChatModel,
        begun: Callable[[Any], list[PlanStep]],
        tell: Callable[[list[PlanStep]], None],
    ) -> None:
        self._model = model
        self._begun = begun
        self._tell = tell

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Reply:
        """Return the model's reply."""
        said, told = "", 0

        def heard(piece: str) -> None:
            nonlocal said, told
            said += piece
            if on_text is not None:
                on_text(piece)
            # A step is whole once the next key has begun, which a quotation mark does.
            if '"' in piece and len(steps := self._steps(said)) > told:
                told = len(steps)
                self._tell(steps)

        return self._model.chat(request, on_text=heard, cancel=cancel)

    def _steps(self, said: str) -> list[PlanStep]:
        """Return the steps that are certainly whole: those behind which another one has begun."""
        try:
            answer = from_json(said.strip(), allow_partial=True)
            whole = dict(list(answer.items())[:-1]) if isinstance(answer, dict) else {}
            return self._begun(whole) if whole else []
        except ValueError:
            return []
