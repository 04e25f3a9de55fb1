"""From a model's words to a typed value: schema, parse, check, and ask again with the fault.

Invariant: a value that leaves here was read and checked in full, whatever the server made of the
schema; what cannot be read after the last try is an error, never a guess. Which way led to a value,
and what was refused because it would not have been whole, is counted for each model in `paths`, and
told to who wants to keep it (`paths_told_to`).
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from agents.context import ensure_fits
from agents.errors import ContextOverflow, ReplyTruncated, UnreadableAnswer
from agents.model import ChatModel, ChatRequest, Message, Reply
from agents.prompt import Prompt
from workflows.json_text import read_json, read_json_in

__all__ = [
    "Form",
    "Path",
    "ask",
    "ask_text",
    "find_json",
    "in_words",
    "paths",
    "paths_told_to",
    "refusals_counted",
]

T = TypeVar("T")

_RETRY_PENALTY = 1.05
#: Places in an answer at which JSON may begin, of those that are tried: each may take a look at the rest.
_MOST_PLACES = 200
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


class Path(StrEnum):
    """How an answer became a value, or why it was refused."""

    DIRECT = "direct"
    """The reply was the JSON that was asked for."""
    EXTRACTED = "extracted"
    """The JSON stood among other words."""
    REPAIRED = "repaired"
    """A later try, with the fault in words."""
    FAILED = "failed"
    """No try gave a value."""
    OVERFLOW = "overflow"
    """The text did not fit into the window, and nothing was left out of it."""
    CUT = "cut"
    """The answer had no end, and half of it was not taken for the whole."""


_counts: Counter[tuple[str, Path]] = Counter()
_counts_lock = threading.Lock()
_listener: ContextVar[Callable[[str, Path], None] | None] = ContextVar("listener", default=None)


def paths() -> dict[tuple[str, Path], int]:
    """Return how often each (model, path) was taken in this process."""
    with _counts_lock:
        return dict(_counts)


@contextmanager
def paths_told_to(listener: Callable[[str, Path], None]) -> Iterator[None]:
    """Give the listener each (model, path) that is counted in the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def refusals_counted(model: str) -> Iterator[None]:
    """Count for the model when the block ends because something would not have been whole."""
    try:
        yield
    except ContextOverflow:
        _count(model, Path.OVERFLOW)
        raise
    except ReplyTruncated:
        _count(model, Path.CUT)
        raise


@dataclass(frozen=True)
class Form(Generic[T]):
    """What an answer must look like: its JSON schema, and how it is read.

    `read` is given the parsed JSON and raises ValueError in words that a model can act on.
    """

    schema: dict[str, Any]
    read: Callable[[Any], T]

    @classmethod
    def of(cls, kind: type[T]) -> Form[T]:
        """Return the form of a pydantic model, or of any type that pydantic knows."""
        adapter: TypeAdapter[T] = TypeAdapter(kind)
        return cls(adapter.json_schema(), adapter.validate_python)


def ask_text(model: ChatModel, request: ChatRequest) -> Reply:
    """Ask for free text. The reply may be `cut`; blank text is `UnreadableAnswer`."""
    ensure_fits(request)
    reply = model.chat(request)
    if not reply.text.strip():
        raise UnreadableAnswer(f"{request.model} answered nothing: reword the task")
    return reply


def ask(
    model: ChatModel,
    request: ChatRequest,
    form: Form[T],
    *,
    again: Sequence[float] = (0.4, 0.7),
    explain: bool = True,
) -> T:
    """Ask for a value of a form.

    An answer that does not read is asked for again, once for each temperature in `again`, with the
    fault in words (unless `explain` is false: the smallest models are only confused by it).
    Raises `UnreadableAnswer` after the last try, or `ReplyTruncated` when that one was cut short.
    """
    question = asked = replace(request, schema=form.schema)
    for attempt in range(len(again) + 1):
        ensure_fits(asked)
        reply = model.chat(asked)
        try:
            data, extracted = find_json(reply.text)
            value = form.read(data)
        except ValueError as error:
            fault = in_words(error)
            if attempt < len(again):
                asked = _again(question, attempt + 1, again[attempt], reply)
                asked = asked if reply.cut or not explain else _explained(asked, reply, fault)
            continue
        path = Path.EXTRACTED if extracted else Path.DIRECT
        _count(request.model, Path.REPAIRED if attempt else path)
        return value
    _count(request.model, Path.FAILED)
    if reply.cut:
        raise ReplyTruncated(
            f"{request.model} did not finish its answer in {asked.options.num_predict} tokens: "
            "raise num_predict or ask for less"
        )
    tries = len(again) + 1
    raise UnreadableAnswer(f"{request.model} gave no usable answer in {tries} tries: {fault}")


def find_json(text: str) -> tuple[Any, bool]:
    """Return the JSON value in a text, and whether it stood among other words.

    Raises ValueError, in words for the model, when there is none.
    """
    try:
        return read_json(text), False
    except json.JSONDecodeError:
        pass
    candidates = [found[1] for found in islice(_FENCE.finditer(text), _MOST_PLACES)]
    for candidate in [*candidates, text]:
        for start in islice(re.finditer(r"[{\[]", candidate), _MOST_PLACES):
            try:
                return read_json_in(candidate, start.start()), True
            except json.JSONDecodeError:
                continue
    raise ValueError("it is not JSON, or not all of it")


def in_words(error: ValueError) -> str:
    """Return what is wrong with an answer, on one line."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'the answer'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return " ".join("; ".join(faults[:3]).split())


def _count(model: str, path: Path) -> None:
    with _counts_lock:
        _counts[model, path] += 1
    if (listener := _listener.get()) is not None:
        listener(model, path)


def _again(question: ChatRequest, attempt: int, temperature: float, reply: Reply) -> ChatRequest:
    options = replace(
        question.options,
        # The same answer again would help nobody.
        temperature=temperature,
        repeat_penalty=_RETRY_PENALTY,
        seed=question.options.seed + attempt,
    )
    if reply.cut:
        options = replace(options, num_predict=2 * question.options.num_predict)
    return replace(question, options=options)


def _explained(question: ChatRequest, reply: Reply, fault: str) -> ChatRequest:
    turns = (Message("assistant", reply.text), *Prompt.load("repair").fill(fault=fault))
    return replace(question, messages=question.messages + turns)
