"""Calls that wait for a model, which takes its time: in threads of their own.

Invariant: however many of them there are, requests for what is known are not held up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

__all__ = ["patiently"]

T = TypeVar("T")

#: Calls at once; more wait for their turn.
_AT_ONCE = 32
_turns: RunVar[CapacityLimiter] = RunVar("turns")


async def patiently(call: Callable[[], T]) -> T:
    """Return what a call that may take minutes returns."""
    try:
        turns = _turns.get()
    except LookupError:
        turns = CapacityLimiter(_AT_ONCE)
        _turns.set(turns)
    return await run_sync(call, limiter=turns)
