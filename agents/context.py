"""What fits into a model's window, and how longer texts are divided.

Invariant: no text is ever cut silently. `split` gives pieces that are the text again when they are
put together, and what cannot fit is an error before anything is sent.

The rules for dividing: at headings; where that is not enough at blank lines, then at the ends of
sentences, between words, and only at last inside a word. Neighbours share a piece where they fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from agents.errors import ContextOverflow
from agents.model import ChatRequest, Message

__all__ = ["ensure_fits", "estimate_tokens", "room_for", "split"]

# What a chat template adds to a turn, rounded up.
_TURN_TOKENS = 8
# A letter of English makes about a quarter of a token; other scripts may need one or more a letter.
_LETTERS_A_TOKEN = 3

_BOUNDARIES = [
    re.compile(r"(?=^#{1,6}[ \t])", re.MULTILINE),
    re.compile(r"(?<=\n\n)(?=[^\n])"),
    re.compile(r"(?<=[.!?…]\s)(?=\S)"),
    re.compile(r"(?<=\s)(?=\S)"),
]


def estimate_tokens(text: str) -> int:
    """Return how many tokens the text has at most: one for three ASCII letters, or any other."""
    plain = sum(letter < "\x80" for letter in text)
    return -(-plain // _LETTERS_A_TOKEN) + len(text) - plain


def estimate_request(request: ChatRequest) -> int:
    """Return how many tokens the prompt of a request has at most."""
    tools = estimate_tokens(json.dumps(request.tools)) if request.tools else 0
    return tools + sum(_estimate_turn(message) for message in request.messages)


def _estimate_turn(message: Message) -> int:
    calls = "".join(call.name + call.arguments for call in message.tool_calls)
    return estimate_tokens(message.content + calls + message.tool_name) + _TURN_TOKENS


def room_for(request: ChatRequest) -> int:
    """Return how many tokens could be added to the prompt; below zero, what it has too many."""
    return request.options.num_ctx - request.options.num_predict - estimate_request(request)


def ensure_fits(request: ChatRequest) -> None:
    """Raise `ContextOverflow` unless prompt and answer surely fit into the window."""
    if (room := room_for(request)) < 0:
        raise ContextOverflow(
            f"the prompt and an answer of {request.options.num_predict} tokens are up to {-room} "
            f"tokens more than num_ctx {request.options.num_ctx}: shorten the text or raise num_ctx"
        )


def split(text: str, room: int) -> list[str]:
    """Divide a text into pieces of at most `room` tokens each; together they are the text."""
    if room < 1:
        raise ContextOverflow(f"there is room for {room} tokens of text: raise num_ctx")
    return _split(text, room, 0)


def _split(text: str, room: int, level: int) -> list[str]:
    if estimate_tokens(text) <= room:
        return [text]
    if level == len(_BOUNDARIES):
        # Any `room` letters fit, whatever their script.
        return [text[start : start + room] for start in range(0, len(text), room)]
    pieces: list[str] = []
    for unit in _packed(_BOUNDARIES[level].split(text), room):
        pieces.extend(_split(unit, room, level + 1))
    return pieces


def _packed(units: Iterable[str], room: int) -> list[str]:
    """Join neighbours as long as they fit; a unit that is too large alone stays alone."""
    packed: list[str] = []
    taken = 0
    for unit in filter(None, units):
        size = estimate_tokens(unit)
        if packed and taken + size <= room:
            packed[-1] += unit
            taken += size
        else:
            packed.append(unit)
            taken = size
    return packed
