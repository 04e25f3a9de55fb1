"""A chat model whose answers are recorded before they are used, and replayed after a crash.

Invariant: a model answer that was recorded is never paid for again. The calls of one try of a task
are numbered; a repetition that asks the same question at the same place gets the recorded answer. A
worker that stood still since it looked asks nothing before it has made sure of its lease. A task with
a budget asks only what it can pay for.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Protocol

from agents.answers import Path
from agents.context import estimate_request
from agents.model import ChatModel, ChatRequest, Reply
from celery_app.store.budgets import BudgetStore
from celery_app.store.journal import JournalStore
from celery_app.worker.leases import Lease
from celery_app.worker.voice import Voice


class CarefulModel(ChatModel, Protocol):
    """A model that can be told at the last moment not to ask."""

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
        before_asking: Callable[[], None] | None = None,
    ) -> Reply:
        """Return the whole reply; `before_asking` may set `cancel`, so that nothing is asked."""
        ...


class JournalledModel:
    """A `ChatModel` for one running task.

    Args:
        inner: The model that is really asked.
        journal: Where answers are kept.
        lease: The right of the task that asks.
    """

    def __init__(self, inner: CarefulModel, journal: JournalStore, lease: Lease) -> None:
        self._inner = inner
        self._journal = journal
        self._lease = lease
        self._numbers = itertools.count()
        self._answers = itertools.count()

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Reply:
        """Return the recorded answer to this question, or ask and record it."""
        claim = self._lease.claim
        place = (claim.id, claim.tries, next(self._numbers))
        digest = request.digest()
        recorded = self._journal.find(*place, digest)
        if recorded is not None:
            return Reply.from_json(recorded)
        if claim.budgets:
            most = estimate_request(request) + request.options.num_predict
            BudgetStore(self._journal.database).hold(claim, most)
        voice = Voice(self._journal.database, self._lease)

        def heard(text: str) -> None:
            voice.say(text)
            if on_text is not None:
                on_text(text)

        begun = time.monotonic()
        reply = self._inner.chat(
            request, on_text=heard, cancel=cancel, before_asking=self._lease.assure
        )
        voice.tell()
        self._journal.record(*place, digest, time.monotonic() - begun, reply.to_json())
        return reply

    def judged(self, model: str, path: Path) -> None:
        """Record how a question came out; a repetition has it at the same place."""
        claim = self._lease.claim
        self._journal.note(claim.id, claim.tries, next(self._answers), model, path)
