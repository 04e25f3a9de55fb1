"""`Agent`: takes a task and texts, asks its model, gives an answer.

Invariant: every answer rests on at least one call of the model, and every text that was given was
read in full by it: what is too long for one call is read in pieces, and then what was gained from
the pieces.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from agents.answers import Form, ask, ask_text, find_json, refusals_counted
from agents.context import estimate_request, room_for, split
from agents.errors import ContextOverflow, ReplyTruncated
from agents.meter import Meter
from agents.model import ChatModel, ChatRequest, Message, Usage
from agents.outputs import output_form
from agents.profile import AgentProfile, AgentType
from agents.prompt import Prompt
from agents.quoting import QuoteForm, choices_of, longest_quote
from agents.sentences import first_sentences, whole_sentences
from agents.tool_forms import FORMS
from agents.tool_talk import talk
from agents.toolbox import Toolbox
from workflows.task import Task, TaskInput

__all__ = ["Agent", "AgentProfile", "AgentType", "Answer"]

_MOST_ROUNDS = 6
_QUOTES = 3
# One try of a task asks again with the seeds that follow its first.
_SEEDS_A_TRY = 100
# What a question that is asked again holds besides the answer it refers to.
_REPAIR_TOKENS = 100
_IN_SHORT = "What matters most in all of these results?"


@dataclass(frozen=True)
class Answer:
    """What an agent says, what that took, and how many calls of the model it was.

    `value` is a text, or what the `output` of the task asks for.
    """

    value: Any
    usage: Usage = field(default_factory=Usage)
    calls: int = 1


class Agent:
    """One member of the roster at work. It keeps nothing between tasks."""

    def __init__(self, profile: AgentProfile) -> None:
        self.profile = profile

    def perform(
        self,
        task: Task,
        inputs: Sequence[TaskInput] = (),
        dependencies: Sequence[TaskInput] = (),
        *,
        model: ChatModel,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
        tries: int = 0,
        toolbox: Toolbox | None = None,
    ) -> Answer:
        """Do the task with the given texts and the named results of the tasks it depends on.

        The name of a result is the heading it gets where results are assembled. `on_text` is given
        what the model says as it arrives. `tries` is how often the task was tried before: a warm
        question is not answered the same again. With a tool in the `toolbox` the model may use it
        before it answers. Raises `AgentError`; `UnreadableAnswer` names what does not fit the task's
        `output`.
        """
        meter = Meter(model, on_text, cancel)
        job = _Job(self.profile, task, meter, tries)
        with refusals_counted(self.profile.model):
            value = self._value(job, task, inputs, dependencies, toolbox)
        return Answer(value, meter.usage, meter.calls)

    def _value(
        self,
        job: _Job,
        task: Task,
        inputs: Sequence[TaskInput],
        dependencies: Sequence[TaskInput],
        toolbox: Toolbox | None,
    ) -> Any:
        texts = [*inputs, *dependencies]
        together = len(dependencies) > 1 and not inputs
        if toolbox is not None and toolbox.tools:
            return job.with_tools(task.description, _material(texts), toolbox, task.output)
        if task.output is not None:
            return job.value(task.description, _material(texts), task.output)
        if together and self.profile.joins == "assemble":
            return _assembled(job, dependencies)
        if texts:
            return job.read(task.description, _material(texts))
        return job.write(task.description)

    def quote(
        self,
        task: Task,
        text: str,
        *,
        model: ChatModel,
        cancel: threading.Event | None = None,
        tries: int = 0,
    ) -> Answer:
        """Do the task in sentences of the text, which the model chooses, whatever the profile says.

        Where the text has no sentences it is done in the model's words. Raises `AgentError`.
        """
        meter = Meter(model, None, cancel)
        words = _Job(self.profile, task, meter, tries).read(task.description, text, quotes=True)
        return Answer(words, meter.usage, meter.calls)


class _Job:
    """One task in the hands of one agent."""

    def __init__(self, profile: AgentProfile, task: Task, model: Meter, tries: int) -> None:
        self._profile = profile
        self._model = model
        # Equal tasks ask equal questions, so recorded answers are found again.
        seed = (task.id.int + _SEEDS_A_TRY * tries) % 2**31
        self._options = replace(profile.options, seed=seed)

    def write(self, words: str) -> str:
        """Answer without a text."""
        return self._free(Prompt.load("write").fill(job=words, **self._manner()))

    def read(self, words: str, text: str, *, quotes: bool = False) -> str:
        """Answer from a text of any length; with `quotes` in the text's own sentences."""
        quotes = quotes or self._profile.quotes
        text = self._shortened(words, text, self._room(words, quotes), quotes)
        return self._piece(words, text, quotes)

    def value(self, words: str, text: str, schema: dict[str, Any]) -> Any:
        """Answer with a value as the JSON schema says, from a text of any length if there is one."""
        form = output_form(schema)
        manner = {**self._manner(), "limit": _in_json(form)}
        if not text:
            messages = Prompt.load("write").fill(job=words, **manner)
            return ask(self._model, self._request(messages), form)
        prompt, quotes = Prompt.load("read"), self._profile.quotes
        empty = self._request(prompt.fill(job=words, text="", **manner))
        # The answer, once more where it is told what is wrong with it, and the better one.
        again = 2 * self._options.num_predict + _REPAIR_TOKENS
        room = min(self._room(words, quotes), room_for(empty) - again)
        text = self._shortened(words, text, room, quotes)
        return ask(self._model, self._request(prompt.fill(job=words, text=text, **manner)), form)

    def with_tools(
        self, words: str, text: str, toolbox: Toolbox, schema: dict[str, Any] | None
    ) -> Any:
        """Answer after whatever use of tools the model makes, in words or as the schema says."""
        form = FORMS[self._profile.tool_form]
        output = None if schema is None else output_form(schema)
        limit = self._manner()["limit"] if output is None else _in_json(output)
        end = Prompt.load("tools_end").fill(job=words, limit=limit)
        # The last answer; a value may be asked for again with what is wrong with it.
        answers = (1 if output is None else 3) * self._options.num_predict
        found = talk(
            self._model,
            self._with_manual(words, text, limit, toolbox),
            toolbox,
            form,
            reserve=estimate_request(self._request(end)) + answers,
        )
        messages = (*found.messages, *end)
        if output is not None:
            return self._valued(messages, found.answer, output)
        if found.answer is not None:
            return self._whole(found.answer)
        if form.last is None:
            return self._free(messages)
        return self._whole(ask(self._model, self._request(messages), form.last))

    def _with_manual(self, words: str, text: str, limit: str, toolbox: Toolbox) -> ChatRequest:
        """Return the question with what is to be known of the tools."""
        form, prompt = FORMS[self._profile.tool_form], Prompt.load("tools")
        manual = form.manual(toolbox.tools)
        known = {**self._manner(), "job": words, "limit": limit, "manual": manual}
        if text:
            quotes = self._profile.quotes
            empty = form.offered(self._request(prompt.fill(text="", **known)), toolbox.tools)
            # The other half of the room is for what tools will say.
            room = min(self._room(words, quotes), room_for(empty) // 2)
            text = self._shortened(words, text, room, quotes) + "\n\n"
        return self._request(prompt.fill(text=text, **known))

    def _valued(self, messages: tuple[Message, ...], answer: str | None, form: Form[Any]) -> Any:
        with suppress(ValueError, RecursionError):
            return form.read(find_json(answer or "")[0])
        return ask(self._model, self._request(messages), form)

    def _shortened(self, words: str, text: str, room: int, quotes: bool) -> str:
        """Return the text, or what was gained from reading it in pieces, once it fits the room."""
        for _ in range(_MOST_ROUNDS):
            pieces = split(text, room)
            if len(pieces) == 1:
                return text
            gained = [self._piece(words, one, quotes) for one in pieces if one.strip()]
            if sum(map(len, gained)) >= len(text):
                break
            text = "\n\n".join(gained)
        raise ContextOverflow(
            f"reading in pieces does not make the text short enough for {self._profile.name}: "
            "raise its num_ctx or reads, or lower its sentences or num_predict"
        )

    def _piece(self, words: str, text: str, quotes: bool) -> str:
        if quotes and (choices := choices_of(text, self._profile.sentences or _QUOTES)):
            quoting = QuoteForm(choices)
            request = self._request(Prompt.load("quote").fill(job=words, text=text))
            return ask(self._model, quoting.sized(request), quoting.form())
        return self._free(Prompt.load("read").fill(job=words, text=text, **self._manner()))

    def _free(self, messages: tuple[Message, ...]) -> str:
        """Answer in the model's own words, cut only behind whole sentences."""
        request = self._request(messages)
        reply = ask_text(self._model, request)
        most = self._profile.sentences
        if most is None and reply.cut:
            longer = replace(request.options, num_predict=2 * request.options.num_predict)
            reply = ask_text(self._model, replace(request, options=longer))
        text = whole_sentences(reply.text) if reply.cut and most is not None else reply.text
        if not text or (reply.cut and most is None):
            raise ReplyTruncated(
                f"{self._profile.model} did not finish its answer in "
                f"{request.options.num_predict} tokens: raise num_predict of {self._profile.name}"
            )
        return self._whole(text)

    def _whole(self, text: str) -> str:
        most = self._profile.sentences
        return first_sentences(text, most) if most is not None else text.strip()

    def _request(self, messages: tuple[Message, ...]) -> ChatRequest:
        return ChatRequest(self._profile.model, messages, options=self._options)

    def _manner(self) -> dict[str, str]:
        most = self._profile.sentences
        limit = "" if most is None else f"Write at most {most} sentences."
        return {"agent": f"the {self._profile.type}", "limit": limit}

    def _room(self, words: str, quotes: bool) -> int:
        """Return how many tokens of text one call can take."""
        empty = Prompt.load("read").fill(job=words, text="", **self._manner())
        room = room_for(self._request(empty))
        if quotes:
            room -= longest_quote(self._profile.sentences or _QUOTES)
        return min(room, self._profile.reads or room)


def _in_json(form: Form[Any]) -> str:
    return f"Answer in JSON as this schema says: {json.dumps(form.schema)}"


def _assembled(job: _Job, results: Sequence[TaskInput]) -> str:
    """Put every result under its heading as it is, below what the model finds most important."""
    sections = "\n\n".join(f"## {result.name}\n\n{result.text.strip()}" for result in results)
    opening = job.read(_IN_SHORT, sections, quotes=True)
    return f"**In short:** {opening}\n\n{sections}"


def _material(texts: Sequence[TaskInput]) -> str:
    if len(texts) == 1:
        return texts[0].text
    return "\n\n".join(f"## {text.name}\n\n{text.text}" for text in texts)
