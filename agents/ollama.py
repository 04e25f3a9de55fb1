"""`OllamaModel`: the chat model behind one or several Ollama servers.

Invariant: a caller hears one reply, from one host. Another host is asked only while nothing of
the first was heard, and never for a mistake of the caller.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from agents.call import Call, Limits
from agents.errors import AgentError, ModelRefused, Retry
from agents.model import ChatRequest, Reply

__all__ = ["Limits", "OllamaModel"]

_AVOIDED_SECONDS = 30.0


class OllamaModel:
    """A chat model on servers that speak Ollama's protocol. Safe to share between threads.

    Of several `hosts` ("name", "name:port" or a URL) the least busy one is asked; one that fails
    before it said anything is passed over, and for half a minute comes last. The key of
    OLLAMA_API_KEY is sent if there is one. `keep_alive` is how long a server keeps the model.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        limits: Limits | None = None,
        keep_alive: str = "10m",
    ) -> None:
        if not hosts:
            raise ModelRefused("no Ollama host is given: name at least one, as host:port")
        self.hosts = tuple(hosts)
        self.limits = limits or Limits()
        self.keep_alive = keep_alive
        self._in_flight: Counter[str] = Counter()
        self._avoided: dict[str, float] = {}
        self._lock = threading.Lock()

    def chat(
        self,
        request: ChatRequest,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Reply:
        """Return the whole reply of one of the hosts.

        Raises the `AgentError` of the last host that was asked.
        """
        hosts = self._by_load()
        started = time.monotonic()
        for position, host in enumerate(hosts, start=1):
            call = Call(host, request, self.limits, self.keep_alive, started, on_text, cancel)
            try:
                with self._counted(host):
                    return call.run()
            except AgentError as error:
                if error.retry not in {Retry.LATER, Retry.ELSEWHERE}:
                    raise
                self._avoid(host)
                # What was shown already cannot be taken back.
                if call.spoke or position == len(hosts):
                    raise
        raise AssertionError("there is at least one host")

    def _by_load(self) -> list[str]:
        with self._lock:
            now = time.monotonic()
            return sorted(
                self.hosts,
                key=lambda host: (self._avoided.get(host, 0.0) > now, self._in_flight[host]),
            )

    def _avoid(self, host: str) -> None:
        with self._lock:
            self._avoided[host] = time.monotonic() + _AVOIDED_SECONDS

    @contextmanager
    def _counted(self, host: str) -> Iterator[None]:
        with self._lock:
            self._in_flight[host] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[host] -= 1
