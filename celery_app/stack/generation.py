"""One call to the model while it runs: the pieces that arrive, and the way to stop it.

Invariant: the model's thread only puts pieces in and looks at the stop sign; everything else
happens on the event loop, so nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from celery_app.errors import AgentSystemError

__all__ = ["Counts", "Generation", "Piece", "RefusalError"]


UNFINISHED = "the model ended before its answer was complete: try again"


class RefusalError(AgentSystemError):
    """A call that is not answered; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Counts:
    """Tokens read and written by one call, and the time that each took in nanoseconds."""

    prompt: int
    prompt_ns: int
    generated: int
    generated_ns: int


@dataclass(frozen=True)
class Piece:
    """A piece of an answer; the last one carries `reason` (stop or length) and `counts`.

    A piece without text says only that the model is at work.
    """

    text: str = ""
    thinking: str = ""
    reason: str | None = None
    counts: Counts | None = None


class Generation:
    """One running call: an asynchronous iterator of pieces that may be cancelled at any time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Piece | RefusalError | None] = asyncio.Queue()
        self._stop = threading.Event()
        self._first: Piece | None = None

    async def accepted(self) -> None:
        """Wait until the model is at work on the call. Raises RefusalError when it will not."""
        self._first = await self._next()
        if self._first is None:
            raise RefusalError(500, UNFINISHED)

    def cancel(self) -> None:
        """Stop soon; what is still to come is thrown away."""
        self._stop.set()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        piece = self._first
        while piece is not None:
            yield piece
            if piece.reason is not None:
                return
            piece = await self._next()
        raise RefusalError(500, UNFINISHED)

    async def _next(self) -> Piece | None:
        arrived = await self._arrived.get()
        if isinstance(arrived, RefusalError):
            raise arrived
        return arrived

    def run(self, handler: Callable[[Any, Any], None], body: dict[str, Any]) -> None:
        """Do the call; for the engine's own threads."""
        try:
            handler(body, self._take)
        except ValueError as error:
            self._put(RefusalError(400, _plain(str(error))))
        except RuntimeError as error:
            self._put(RefusalError(500, _plain(str(error))))
        finally:
            self._put(None)

    def _take(self, event: dict[str, Any]) -> bool:
        """Pass on one event of llama.cpp; True asks it to stop."""
        if not self._stop.is_set():
            self._put(_piece(event))
        return self._stop.is_set()

    def _put(self, arrived: Piece | RefusalError | None) -> None:
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, arrived)


def _piece(event: dict[str, Any]) -> Piece | RefusalError:
    """Translate one event of llama.cpp."""
    if error := event.get("error"):
        return _refusal(error)
    choice = event["choices"][0]
    delta = choice.get("delta") or {}
    timings = event.get("timings")
    return Piece(
        text=delta.get("content") or choice.get("text") or "",
        thinking=delta.get("reasoning_content") or "",
        reason=choice.get("finish_reason"),
        counts=_counts(timings) if timings else None,
    )


def _refusal(error: dict[str, Any]) -> RefusalError:
    if error.get("type") == "exceed_context_size_error":
        return RefusalError(
            400,
            f"the prompt has {error['n_prompt_tokens']} tokens, which exceeds the context of"
            f" {error['n_ctx']}: shorten the messages",
        )
    return RefusalError(int(error.get("code", 500)), _plain(str(error.get("message"))))


def _counts(timings: dict[str, Any]) -> Counts:
    return Counts(
        prompt=timings["cache_n"] + timings["prompt_n"],
        prompt_ns=int(timings["prompt_ms"] * 1e6),
        generated=timings["predicted_n"],
        generated_ns=int(timings["predicted_ms"] * 1e6),
    )


def _plain(message: str) -> str:
    """Keep of llama.cpp's sentence what concerns the caller."""
    return message.rpartition("Automatic parser generation failed: ")[2]
