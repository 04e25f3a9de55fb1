"""`OllamaModel`: the chat model behind one or several Ollama servers.

Invariant: a caller hears one reply, from one host. Another host is asked only while nothing of
the first was heard, and never for a mistake of the caller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from agents.call import Call, Limits
from agents.errors import AgentError, CallCancelled, DeadlinePassed, ModelBusy, Retry
from agents.hosts import HostPool
from agents.model import ChatRequest, Reply
from agents.sight import answers

__all__ = ["KEEP_ALIVE", "Limits", "OllamaModel"]

#: For how long a server keeps a model in memory after a call.
KEEP_ALIVE = "10m"

_PROBE_SECONDS = 1.0


class OllamaModel:
    """A chat model on servers that speak Ollama's protocol. Safe to share between threads.

    `hosts` are names, names with ports or URLs, or a pool that others use as well; see there which
    one is asked. One that fails before it said anything is passed over. The key of OLLAMA_API_KEY
    is sent if there is one. `keep_alive` is how long a server keeps the model.
    """

    def __init__(
        self,
        hosts: Sequence[str] | HostPool,
        *,
        limits: Limits | None = None,
        keep_alive: str = KEEP_ALIVE,
    ) -> None:
        self.pool = hosts if isinstance(hosts, HostPool) else HostPool(hosts)
        self.limits = limits or Limits()
        self.keep_alive = keep_alive

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
        before_asking: Callable[[], None] | None = None,
    ) -> Reply:
        """Return the whole reply of one of the hosts.

        `before_asking` is called at the last moment before the question leaves, in another thread;
        if it sets `cancel`, nothing is asked.

        Raises the `AgentError` of the last host that was asked; or of one that may have the model
        again later, if the last one does not have it.
        """
        started = time.monotonic()
        faults: dict[str, AgentError] = {}

        def check() -> None:
            self._check_wait(request, started, cancel)

        while len(faults) < len(self.pool.urls):
            with self.pool.place(request.model, faults, check) as host:
                if host is None:
                    break
                call = Call(
                    host,
                    request,
                    self.limits,
                    self.keep_alive,
                    started,
                    on_text,
                    cancel,
                    before_asking,
                )
                try:
                    reply = call.run()
                except AgentError as error:
                    if error.retry not in {Retry.LATER, Retry.ELSEWHERE}:
                        raise
                    self.pool.failed(host, error)
                    faults[host] = error
                    # What was shown already cannot be taken back.
                    if call.spoke:
                        break
                else:
                    self.pool.succeeded(host)
                    return reply
        raise self._worst(faults, started)

    def _worst(self, faults: dict[str, AgentError], started: float) -> AgentError:
        """Choose the error to raise; an outage of its host is not held against the task."""
        passing = [host for host, error in faults.items() if error.retryable]
        host = [*faults, *passing][-1]
        error = faults[host]
        if error.retryable:
            seconds = min(self.limits.connect, _PROBE_SECONDS)
            error.counts_as_try = not (
                isinstance(error, ModelBusy)
                or self.pool.was_away(host, started)
                or not answers(host, seconds)
            )
        return error

    def _check_wait(
        self, request: ChatRequest, started: float, cancel: threading.Event | None
    ) -> None:
        if cancel is not None and cancel.is_set():
            raise CallCancelled(f"the call to {request.model} was cancelled before it began")
        total = self.limits.total
        if total is not None and time.monotonic() - started > total:
            raise DeadlinePassed(
                f"no host was free for {request.model} within {total:g} s: allow more time, or "
                "more slots if the hosts can bear it"
            )
