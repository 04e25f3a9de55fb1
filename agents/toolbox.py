"""`Toolbox`: the tools that one task may use, and the door through which every call of one goes.

Invariants
  * A tool that was not put in is never called: nothing named, no tool.
  * Every call is recorded with what came of it before the model hears of it. A repetition that calls
    the same at the same place gets the recorded result.
  * Nobody waits for a tool longer than its time, or when the task has ended.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from agents.errors import CallCancelled, ToolFailed, ToolRefused
from agents.model import ToolCall
from agents.tool import Tool

__all__ = ["LONGEST_ARGUMENTS", "Bounds", "Ledger", "ToolResult", "Toolbox", "call_digest"]

#: Letters of the arguments of one call, as JSON.
LONGEST_ARGUMENTS = 16_384
_DEEPEST_ARGUMENTS = 16
_TICK_SECONDS = 0.05
_LONGEST_REASON = 300
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Bounds:
    """How much of tools one task may use.

    `rounds` are turns of the model in which it calls tools, `largest` the bytes that a call may give
    back, `seconds` what a call may take.
    """

    rounds: int = 6
    largest: int = 65_536
    seconds: float = 20.0


@dataclass(frozen=True)
class ToolResult:
    """What the model is told of its call.

    `refused` is the reason of a call that the task may not make; `failed` says that a tool could not
    do what it was asked, or was asked wrongly.
    """

    text: str
    refused: str | None = None
    failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make the result of which `to_json` gave `data`."""
        return cls(**data)


class Ledger(Protocol):
    """Keeps what came of calls, each at its number within a task."""

    def find(self, number: int, digest: str) -> ToolResult | None:
        """Return what was recorded of this call at this place; make sure that it may be done, if nothing."""
        ...

    def keep(self, number: int, digest: str, call: ToolCall, result: ToolResult) -> None:
        """Record what came of a call."""
        ...


def call_digest(call: ToolCall) -> str:
    """Return the sha256 of a tool's name and arguments."""
    text = json.dumps([call.name, call.arguments])
    return hashlib.sha256(text.encode()).hexdigest()


class Toolbox:
    """The tools of one task.

    `tools` are those that it may use, and `barred` says of others why it may not. `cancel` ends a
    call that is under way.
    """

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        barred: Mapping[str, str] | None = None,
        bounds: Bounds | None = None,
        ledger: Ledger | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.tools = tuple(tools)
        self.bounds = bounds or Bounds()
        self.calls: list[tuple[ToolCall, ToolResult]] = []
        self._by_name = {tool.name: tool for tool in self.tools}
        self._barred = dict(barred or {})
        self._ledger = ledger
        self._cancel = cancel or threading.Event()

    def call(self, call: ToolCall, *, unless: str | None = None) -> ToolResult:
        """Do a call, or say why not; only the end of the task is an error (`CallCancelled`).

        With a reason in `unless` it is refused for that.
        """
        call = _storable(call)
        number, digest = len(self.calls), call_digest(call)
        result = self._ledger.find(number, digest) if self._ledger is not None else None
        if result is None:
            result = self._done(call, unless)
            if self._ledger is not None:
                self._ledger.keep(number, digest, call, result)
        self.calls.append((call, result))
        return result

    def _done(self, call: ToolCall, unless: str | None) -> ToolResult:
        if self._cancel.is_set():
            raise CallCancelled(f"the call of {call.name} was cancelled before it began")
        if unless is not None:
            return _refused(unless)
        try:
            tool = self._allowed(call.name)
            text = self._within_time(tool, _read(call.arguments))
        except ToolRefused as refused:
            return _refused(_short(refused))
        except ToolFailed as failed:
            return ToolResult(f"Error: {_short(failed)}", failed=True)
        size, most = len(text.encode()), self.bounds.largest
        if size > most:
            return _refused(
                f"{tool.name} gave {size} bytes and at most {most} are taken: ask for less"
            )
        return ToolResult(text)

    def _allowed(self, name: str) -> Tool:
        tool = self._by_name.get(name)
        if tool is not None and name not in self._barred:
            return tool
        known = ", ".join(self._by_name) or "none"
        why = self._barred.get(name, f"there is no tool {name!r}")
        raise ToolRefused(f"{why}: this task may use {known}")

    def _within_time(self, tool: Tool, arguments: Any) -> str:
        """Return what the tool gives, called in a thread of its own that can be left behind."""
        arrived: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                arrived.put(tool(arguments))
            except BaseException as error:  # noqa: BLE001, RUF100 - the caller's thread judges it
                arrived.put(error)

        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(work,), name=f"tool {tool.name}", daemon=True
        ).start()
        until = time.monotonic() + self.bounds.seconds
        while True:
            try:
                found = arrived.get(timeout=_TICK_SECONDS)
                break
            except queue.Empty:
                if self._cancel.is_set():
                    raise CallCancelled(f"the call of {tool.name} was cancelled") from None
                if time.monotonic() > until:
                    raise ToolFailed(
                        f"{tool.name} took longer than {self.bounds.seconds:g} s"
                    ) from None
        if isinstance(found, str):
            return found
        if isinstance(found, ToolFailed | ToolRefused):
            raise found
        # Whatever a tool of the user's may raise is for the model to hear of.
        raise ToolFailed(f"{tool.name} failed: {type(found).__name__}: {found}") from found


def _refused(reason: str) -> ToolResult:
    return ToolResult(f"Refused: {reason}", refused=reason)


def _storable(call: ToolCall) -> ToolCall:
    """Return the call under a name that can be stored, whatever the model made up."""
    name = "".join(letter for letter in call.name[:_LONGEST_NAME] if letter.isprintable())
    return ToolCall(name or "?", call.arguments)


def _read(text: str) -> Any:
    """Return the arguments; what is too much to be looked at is refused unseen."""
    if len(text) > LONGEST_ARGUMENTS:
        raise ToolRefused(
            f"its arguments have {len(text)} letters and at most {LONGEST_ARGUMENTS} are read"
        )
    if _depth(text) > _DEEPEST_ARGUMENTS:
        raise ToolRefused(f"its arguments are nested more than {_DEEPEST_ARGUMENTS} deep")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ToolFailed(f"the arguments are no JSON: {error}") from error


def _depth(text: str) -> int:
    """Return how deep the brackets of JSON text stand; those inside its strings do not count."""
    depth = deepest = 0
    quoted = escaped = False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = quoted
        elif letter == '"':
            quoted = not quoted
        elif not quoted and letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif not quoted and letter in "]}":
            depth -= 1
    return deepest


def _short(error: Exception) -> str:
    words = " ".join(str(error).replace("\0", " ").split())
    words = words.encode("utf-8", "replace").decode()
    return words if len(words) <= _LONGEST_REASON else f"{words[: _LONGEST_REASON - 1]}…"
