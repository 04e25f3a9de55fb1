"""`ScriptedModel`: a chat model whose answers are given beforehand, for tests and dry runs.

Invariant: it never makes up an answer; a question that the script does not foresee is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from agents.errors import CallCancelled, ModelFailed
from agents.model import ChatRequest, Reply, Usage

__all__ = ["Answers", "ScriptedModel"]

Answers = str | Reply | Exception
Rule = Callable[[ChatRequest], Answers | None]


class ScriptedModel:
    """Answers from a queue, and then by rules.

    `answers` are used up one by one. When none is left the `rules` are asked in their order, and
    the first that returns something decides. An exception in the place of an answer is raised.
    Every request is kept in `requests`. Safe to share between threads.
    """

    def __init__(self, *answers: Answers, rules: Iterable[Rule] = ()) -> None:
        self.requests: list[ChatRequest] = []
        self._answers = list(answers)
        self._rules = list(rules)
        self._lock = threading.Lock()

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
        before_asking: Callable[[], None] | None = None,
    ) -> Reply:
        """Return the next answer of the script. Raises `ModelFailed` when there is none."""
        if before_asking is not None:
            before_asking()
        if cancel is not None and cancel.is_set():
            raise CallCancelled("the scripted call was cancelled before it began")
        answer = self._next(request)
        if isinstance(answer, Exception):
            raise answer
        reply = answer if isinstance(answer, Reply) else _reply(answer, request)
        if on_text is not None:
            for piece in reply.text.splitlines(keepends=True):
                on_text(piece)
        return reply

    def _next(self, request: ChatRequest) -> Answers:
        with self._lock:
            self.requests.append(request)
            if self._answers:
                return self._answers.pop(0)
        for rule in self._rules:
            if (answer := rule(request)) is not None:
                return answer
        asked = request.messages[-1].content[:60] if request.messages else ""
        raise ModelFailed(
            f"the script has no answer to call {len(self.requests)}, {asked!r}: "
            "give it one more answer or a rule"
        )


def _reply(text: str, request: ChatRequest) -> Reply:
    asked = sum(len(message.content) for message in request.messages)
    usage = Usage(prompt=asked // 4, generated=len(text) // 4)
    return Reply(text, usage, model=request.model, host="script")
