"""Spans made of what was noted of a task: nothing is measured here, and nothing is sent.

Invariants
  * The same rows give the same spans, ids included, whoever makes them.
  * A span's parent is a span of the same task, or the task above it: both are made of rows that are
    there, however often a worker died. So a trace is connected.
  * Names, numbers and kinds alone are told, unless `content` is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from kombu.utils.json import dumps
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from celery_app.security.vault import Vault
from celery_app.store.ends import Ended, ModelCall, Moment, ToolCall
from celery_app.tracing import span_id, trace_id

__all__ = ["SpanMaker"]

_SCOPE = InstrumentationScope("celery_app")
#: Kinds of events after which a task waits for a worker.
_QUEUED = {"queued", "retried", "lost", "returned"}
#: Kinds that end a stay with a worker, or the waiting for one.
_ENDS = _QUEUED | {"expanded", "waiting", "succeeded", "failed", "cancelled", "skipped"}
_BAD = {"failed", "lost", "retried"}


@dataclass(frozen=True)
class _Stretch:
    """A time that a task spent in a queue (`wait`) or with a worker (`attempt`)."""

    what: str
    number: int
    begin: datetime
    end: datetime
    outcome: str


def _stretches(moments: Sequence[Moment]) -> Iterator[_Stretch]:
    """Yield what a task went through, in order."""
    numbers = {"wait": 0, "attempt": 0}
    what: str | None = None
    begin = moments[0].at
    for moment in moments:
        if moment.kind != "started" and moment.kind not in _ENDS:
            continue
        if what is not None:
            numbers[what] += 1
            outcome = moment.kind if what == "wait" or moment.kind in _ENDS else "lost"
            yield _Stretch(what, numbers[what], begin, moment.at, outcome)
        begin = moment.at
        what = "attempt" if moment.kind == "started" else None
        if moment.kind in _QUEUED:
            what = "wait"


class SpanMaker:
    """Makes the spans of tasks.

    Args:
        resource: As whom they are sent.
        vault: Opens what is sealed: of errors the type, and descriptions if `content`.
        content: Whether to tell what tasks and models say.
    """

    def __init__(self, resource: Resource, vault: Vault, *, content: bool = False) -> None:
        self._resource = resource
        self._vault = vault
        self._content = content

    def spans(self, task: Ended) -> list[ReadableSpan]:
        """Return the spans of a task that has ended: itself first, then what it went through."""
        if not task.moments:
            return []
        stretches = list(_stretches(task.moments))
        attempts = [stretch for stretch in stretches if stretch.what == "attempt"]
        return [
            self._task(task),
            *(self._stretch(task, stretch) for stretch in stretches),
            *(self._model_call(task, call, attempts) for call in task.model_calls),
            *(self._tool_call(task, call, attempts) for call in task.tool_calls),
        ]

    def _task(self, task: Ended) -> ReadableSpan:
        begin, end = task.moments[0].at, task.moments[-1].at
        bad = task.state == "failed"
        attributes: dict[str, Any] = {
            "celery.task.id": task.id,
            "celery.task.name": task.name,
            "ai_agent.task.type": task.type,
            "ai_agent.task.state": task.state,
            "ai_agent.step": task.step,
            "ai_agent.losses": task.losses,
            "gen_ai.conversation.id": task.root_id,
            "gen_ai.workflow.name": task.workflow,
            "gen_ai.agent.name": task.agent,
            "gen_ai.operation.name": _operation(task),
            "gen_ai.usage.input_tokens": task.prompt_tokens,
            "gen_ai.usage.output_tokens": task.generated_tokens,
            "error.type": self._error_type(task) if bad else None,
        }
        if self._content:
            spec = self._vault.unpack(task.spec, "task.spec", task.id)
            words = [{"type": "text", "content": spec.get("description", "")}]
            attributes["gen_ai.input.messages"] = dumps([{"role": "user", "parts": words}])
        return self._span(
            task,
            (),
            _name(task),
            (begin, end),
            attributes,
            parent=None if task.parent_id is None else span_id(task.parent_id),
            bad=bad,
            links=[self._place(task, span_id(needed)) for needed in task.needed],
            events=[Event(m.kind, timestamp=_nanoseconds(m.at)) for m in task.moments],
        )

    def _stretch(self, task: Ended, stretch: _Stretch) -> ReadableSpan:
        waits = stretch.what == "wait"
        return self._span(
            task,
            (stretch.what, stretch.number),
            f"wait for {task.queue}" if waits else f"attempt {stretch.number}",
            (stretch.begin, stretch.end),
            {
                "ai_agent.outcome": stretch.outcome,
                "messaging.system": "redis" if waits else None,
                "messaging.destination.name": task.queue if waits else None,
            },
            bad=not waits and stretch.outcome in _BAD,
            kind=SpanKind.INTERNAL if waits else SpanKind.CONSUMER,
        )

    def _model_call(
        self, task: Ended, call: ModelCall, attempts: Sequence[_Stretch]
    ) -> ReadableSpan:
        host = urlsplit(call.host)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "ollama",
            "gen_ai.request.model": call.model,
            "gen_ai.response.model": call.model,
            "gen_ai.usage.input_tokens": call.prompt_tokens,
            "gen_ai.usage.output_tokens": call.generated_tokens,
            "server.address": host.hostname or call.host or None,
            "server.port": host.port,
        }
        if call.reply is not None:
            reason, words = call.reply["done_reason"], call.reply["text"]
            said = {"role": "assistant", "parts": [{"type": "text", "content": words}]}
            attributes["gen_ai.response.finish_reasons"] = [reason]
            attributes["gen_ai.output.messages"] = dumps([{**said, "finish_reason": reason}])
        return self._span(
            task,
            ("model", call.attempt, call.number),
            f"chat {call.model}",
            (call.at - timedelta(seconds=call.seconds), call.at),
            attributes,
            parent=_parent(task, call.at, attempts),
            kind=SpanKind.CLIENT,
        )

    def _tool_call(self, task: Ended, call: ToolCall, attempts: Sequence[_Stretch]) -> ReadableSpan:
        return self._span(
            task,
            ("tool", call.attempt, call.number),
            f"execute_tool {call.tool}",
            (call.at, call.at),
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": call.tool,
                "ai_agent.tool.refused": call.refused,
            },
            parent=_parent(task, call.at, attempts),
        )

    def _error_type(self, task: Ended) -> str:
        told = self._vault.unpack(task.error, "task.error", task.id) or {}
        return str(told.get("type", "_OTHER"))

    def _place(self, task: Ended, span: int) -> SpanContext:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(trace_id(task.root_id), span, is_remote=False, trace_flags=flags)

    def _span(
        self,
        task: Ended,
        part: tuple[str | int, ...],
        name: str,
        times: tuple[datetime, datetime],
        attributes: dict[str, Any],
        *,
        parent: int | None = -1,
        bad: bool = False,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
        events: Sequence[Event] = (),
    ) -> ReadableSpan:
        """Return a span of a task, by default below the task's own."""
        if parent == -1:
            parent = span_id(task.id)
        return ReadableSpan(
            name,
            self._place(task, span_id(task.id, *part)),
            None if parent is None else self._place(task, parent),
            self._resource,
            {key: value for key, value in attributes.items() if value is not None},
            events,
            [Link(place) for place in links],
            kind,
            status=Status(StatusCode.ERROR if bad else StatusCode.UNSET),
            start_time=_nanoseconds(times[0]),
            end_time=_nanoseconds(times[1]),
            instrumentation_scope=_SCOPE,
        )


def _operation(task: Ended) -> str | None:
    if task.workflow is not None:
        return "invoke_workflow"
    return "invoke_agent" if task.agent is not None else None


def _name(task: Ended) -> str:
    if task.workflow is not None:
        return f"invoke_workflow {task.workflow}"
    if task.agent is not None:
        return f"invoke_agent {task.agent}"
    return f"{task.name} {task.step}" if task.step is not None else task.name


def _parent(task: Ended, at: datetime, attempts: Sequence[_Stretch]) -> int:
    """Return the attempt in which something happened."""
    for stretch in attempts:
        if stretch.begin <= at <= stretch.end:
            return span_id(task.id, stretch.what, stretch.number)
    return span_id(task.id)


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
