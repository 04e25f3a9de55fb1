"""`Call`: one request to one Ollama server, from the question to the whole reply.

It is streamed by the official client in a thread of its own; the caller only waits for what
arrives. So a cancel, a deadline or a long silence ends the call at once, whatever the server does.

Invariant: a reply that leaves here is whole (the server said so), and no connection outlives
its call. A status of 200 alone proves nothing.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import httpx
import ollama

from agents.errors import CallCancelled, DeadlinePassed, IncompleteReply, ModelUnreachable
from agents.faults import check_window, fault_of
from agents.model import ChatRequest, Reply, ToolCall, Usage
from agents.turns import call_of, offer_of, turn_of
from agents.wire import Wire

__all__ = ["Call", "Limits"]

_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Limits:
    """How long a call may take, in seconds.

    `first` is the wait for the first text, in which a server may have to load the model; `silence`
    the longest pause after it; `total` the whole call, on however many hosts.
    """

    connect: float = 5.0
    first: float = 300.0
    silence: float = 60.0
    total: float | None = None


class Call:
    """One request to one host."""

    def __init__(
        self,
        host: str,
        request: ChatRequest,
        limits: Limits,
        keep_alive: str,
        started: float,
        on_text: Callable[[str], None] | None,
        cancel: threading.Event | None,
        before_asking: Callable[[], None] | None = None,
    ) -> None:
        self._host = host
        self._request = request
        self._limits = limits
        self._keep_alive = keep_alive
        self._on_text = on_text
        self._cancel = cancel
        self._before_asking = before_asking
        self._wire = Wire(self._may_ask)
        self._arrived: queue.SimpleQueue[ollama.ChatResponse | Exception | None]
        self._arrived = queue.SimpleQueue()
        self._started = started
        self._text: list[str] = []
        self._calls: list[ToolCall] = []

    @property
    def spoke(self) -> bool:
        """Whether any text was given to the caller."""
        return bool(self._text)

    def run(self) -> Reply:
        """Ask, and wait for the whole reply."""
        if self._cancel is not None and self._cancel.is_set():
            raise CallCancelled("the call was cancelled before it began")
        threading.Thread(target=self._read, name=f"ollama {self._host}", daemon=True).start()
        try:
            last = None
            while (part := self._next()) is not None:
                last = part
                self._take(part.message.content or "")
                self._calls.extend(map(call_of, part.message.tool_calls or ()))
            return self._whole(last)
        finally:
            self._wire.hang_up()

    def _read(self) -> None:
        """Hand over what the server says, and at last None or what went wrong."""
        try:
            for part in self._client().chat(
                model=self._request.model,
                messages=[turn_of(message) for message in self._request.messages],
                tools=[offer_of(tool) for tool in self._request.tools],
                stream=True,
                think=False,
                format=self._request.schema,
                options=asdict(self._request.options),
                keep_alive=self._keep_alive,
            ):
                self._arrived.put(part)
            self._arrived.put(None)
        except Exception as error:  # noqa: BLE001, RUF100 - the caller's thread raises it
            self._arrived.put(error)
        finally:
            self._wire.close()

    def _client(self) -> ollama.Client:
        # The client has no limit of its own. Silence is measured by whoever waits; this one only
        # ends the thread should nobody wait any more.
        patience = max(self._limits.first, self._limits.silence) + 1
        return ollama.Client(
            self._host,
            transport=self._wire,
            timeout=httpx.Timeout(patience, connect=self._limits.connect),
            headers={"accept-encoding": "identity"},
        )

    def _may_ask(self) -> bool:
        if self._before_asking is not None:
            self._before_asking()
        return self._cancel is None or not self._cancel.is_set()

    def _next(self) -> ollama.ChatResponse | None:
        quiet_since = time.monotonic()
        while True:
            self._check_time(quiet_since)
            try:
                arrived = self._arrived.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(arrived, Exception):
                # A call that was hung up because it is not wanted any more is no fault of the host.
                self._check_time(quiet_since)
                raise fault_of(arrived, self._host, self._request) from arrived
            return arrived

    def _check_time(self, quiet_since: float) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise CallCancelled(f"the call to {self._request.model} on {self._host} was cancelled")
        now, limits = time.monotonic(), self._limits
        if limits.total is not None and now - self._started > limits.total:
            raise DeadlinePassed(
                f"{self._request.model} on {self._host} did not finish in {limits.total:g} s: "
                "allow more time or ask for less"
            )
        allowed = limits.silence if self._text or self._calls else limits.first
        if now - quiet_since > allowed:
            raise ModelUnreachable(
                f"{self._host} said nothing for {allowed:g} s: it may be overloaded or stuck"
            )

    def _take(self, text: str) -> None:
        if text:
            self._text.append(text)
            if self._on_text is not None:
                self._on_text(text)

    def _whole(self, last: ollama.ChatResponse | None) -> Reply:
        if last is None or not last.done:
            raise IncompleteReply(
                f"{self._host} ended its reply without saying that it was done: ask again"
            )
        reason = last.done_reason or "stop"
        if reason not in {"stop", "length"}:
            raise IncompleteReply(f"{self._host} ended its reply with {reason!r}: ask again")
        usage = _usage(last)
        check_window(self._request, usage, self._host)
        return Reply(
            text="".join(self._text),
            usage=usage,
            model=self._request.model,
            host=self._host,
            done_reason="length" if reason == "length" else "stop",
            tool_calls=tuple(self._calls),
        )


def _usage(last: ollama.ChatResponse) -> Usage:
    # Counters that are zero are left out, and durations are nanoseconds.
    return Usage(
        prompt=last.prompt_eval_count or 0,
        generated=last.eval_count or 0,
        load_seconds=(last.load_duration or 0) / 1e9,
        prompt_seconds=(last.prompt_eval_duration or 0) / 1e9,
        generate_seconds=(last.eval_duration or 0) / 1e9,
    )
