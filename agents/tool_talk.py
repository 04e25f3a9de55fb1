"""A conversation in which a model uses tools before it answers.

Invariants
  * It ends: after so many rounds, when the window is nearly full, or when the model only repeats
    itself, it is told to answer.
  * What a tool gave is told whole, or with the words how much of it is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agents.answers import in_words
from agents.context import ensure_fits, estimate_tokens, room_for, split
from agents.model import ChatModel, ChatRequest, Message, Reply, ToolCall
from agents.prompt import Prompt
from agents.tool_forms import ToolForm
from agents.toolbox import Toolbox

__all__ = ["Talk", "talk"]

_MOST_CALLS_A_ROUND = 8
# Less than this many tokens is no room for a result and what the model makes of it.
_LEAST_ROOM = 64
_CUT_TOKENS = 60


@dataclass(frozen=True)
class Talk:
    """How a conversation came out: what was said, and the model's answer unless it must yet be asked."""

    messages: tuple[Message, ...]
    answer: str | None = None


def talk(
    model: ChatModel, request: ChatRequest, toolbox: Toolbox, form: ToolForm, *, reserve: int
) -> Talk:
    """Let the model use the tools of the box, until it answers or may use no more.

    `reserve` is how many tokens of the window are left for the question after it. Raises `AgentError`
    where no model answers; what goes wrong with a tool is told to the model.
    """
    made: set[ToolCall] = set()
    for _ in range(toolbox.bounds.rounds):
        asked = form.offered(request, toolbox.tools)
        ensure_fits(asked)
        reply = model.chat(asked)
        try:
            said = form.read(reply, toolbox.tools)
        except ValueError as error:
            turns = _repair(reply, error)
            # A reply that was cut has no end that another round would find.
            if reply.cut or _room(request, toolbox, form, *turns) < reserve:
                break
            request = _with(request, *turns)
            continue
        if not said.calls:
            return _ended(request, said.answer, reply)
        # One more than is done: the model and the record are to hear of it.
        calls = said.calls[: _MOST_CALLS_A_ROUND + 1]
        turn = form.asked(reply, calls)
        # The same again would bring nothing new; small models go on with it for ever.
        if made.issuperset(calls) or _room(request, toolbox, form, turn) < reserve:
            break
        made.update(calls)
        request = _with(request, turn)
        for number, call in enumerate(calls):
            room = (_room(request, toolbox, form) - reserve) // 2
            text = _done(toolbox, call, number)
            request = _with(request, form.told(call, _fitted(text, room - _CUT_TOKENS)))
        if _room(request, toolbox, form) < reserve + _LEAST_ROOM:
            break
    return Talk(request.messages)


def _ended(request: ChatRequest, answer: str, reply: Reply) -> Talk:
    """Take an answer as it is, unless it is none or not whole: then it is asked for once more."""
    if reply.cut or not answer.strip():
        return Talk(request.messages)
    return Talk((*request.messages, Message("assistant", answer)), answer)


def _repair(reply: Reply, error: ValueError) -> tuple[Message, ...]:
    fault = Prompt.load("repair").fill(fault=in_words(error))
    return (Message("assistant", reply.text or "(nothing)"), *fault)


def _with(request: ChatRequest, *turns: Message) -> ChatRequest:
    return replace(request, messages=request.messages + turns)


def _room(request: ChatRequest, toolbox: Toolbox, form: ToolForm, *turns: Message) -> int:
    return room_for(form.offered(_with(request, *turns), toolbox.tools))


def _done(toolbox: Toolbox, call: ToolCall, number: int) -> str:
    most = _MOST_CALLS_A_ROUND
    over = f"at most {most} calls are done in one turn" if number >= most else None
    return toolbox.call(call, unless=over).text


def _fitted(text: str, room: int) -> str:
    """Return a result, cut with notice if it is longer than so many tokens."""
    if estimate_tokens(text) <= room:
        return text
    if room < _LEAST_ROOM:
        return f"[There is no room for its {len(text)} letters: answer from what you know.]"
    shown = split(text, room)[0]
    return (
        f"{shown}\n[These are {len(shown)} of {len(text)} letters: if the tool has the argument "
        f"start, call it with {len(shown)} more to go on.]"
    )
