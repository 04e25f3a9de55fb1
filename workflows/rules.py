"""What the parts of a workflow must obey together: names, ids, order, and what expressions refer to.

Invariant: a workflow without a fault here can run from its start to its end on any outcome of its
steps: every step can be reached, and every name in it will be known when it is asked for.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows.conditions import is_expression
from workflows.edges import fallbacks, needs
from workflows.expressions import expression_faults, trigger_expression_faults
from workflows.problem import nearest
from workflows.schemas import mismatch, schema_fault
from workflows.step import WorkflowStep
from workflows.step_rules import Path, Told, step_faults
from workflows.triggers import WorkflowTrigger

__all__ = ["MAX_STEPS", "Draft", "Fault", "Registry", "faults"]

MAX_STEPS = 1000

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_INPUT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Registry:
    """The names that exist outside of paper; None leaves that check out."""

    agents: Collection[str] | None = None
    capabilities: Collection[str] | None = None
    tasks: Collection[str] | None = None
    workflows: Collection[str] | None = None
    tools: Collection[str] | None = None


@dataclass(frozen=True)
class Fault:
    """What is wrong (`text`) with what `path` leads to; `step` is empty outside of the steps."""

    path: Path
    text: str
    step: str = ""


@dataclass(frozen=True)
class Draft:
    """A workflow that may be anything but sound. `unread` are the keys of steps that have no value."""

    name: str
    steps: Sequence[WorkflowStep]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    triggers: Mapping[int, WorkflowTrigger] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    unread: Mapping[int, Collection[str]] = field(default_factory=dict)


def faults(draft: Draft, known: Registry | None = None) -> Iterator[Fault]:
    """Yield all that is wrong, in the order of the file as far as it has one."""
    if draft.name and not _NAME.fullmatch(draft.name):
        yield Fault(
            ("name",),
            f"the name {draft.name!r} must be small letters, digits, _ and -, a letter first",
        )
    yield from _input_faults(draft.inputs)
    yield from _trigger_faults(draft, known or Registry())
    if len(draft.steps) > MAX_STEPS:
        text = f"there are {len(draft.steps)} steps: give up to {MAX_STEPS}, or use foreach"
        yield Fault(("steps",), text)
        return
    for number, step in enumerate(draft.steps):
        for path, text in step_faults(step, draft.unread.get(number, ())):
            yield Fault(("steps", number, *path), text, step.id)
        for key, text in _registered(step, draft.name, known or Registry()):
            yield Fault(("steps", number, *key), text, step.id)
    yield from _order_faults(draft.steps)
    for path, text, step_id in expression_faults(draft.steps, draft.inputs, draft.outputs):
        yield Fault(path, text, step_id)


def _input_faults(inputs: Mapping[str, Any]) -> Iterator[Fault]:
    for name, schema in inputs.items():
        if not _INPUT.fullmatch(name):
            text = f"the input {name!r} must be letters, digits, _ and -, no digit first"
            yield Fault(("inputs", name), text)
        if fault := schema_fault(schema):
            yield Fault(("inputs", name), f"the input {name} has no JSON schema: {fault}")
        elif "default" in schema and (why := mismatch(schema["default"], schema)):
            yield Fault(("inputs", name, "default"), f"the default of {name} does not fit: {why}")


def _trigger_faults(draft: Draft, known: Registry) -> Iterator[Fault]:
    seen: dict[Any, int] = {}
    for number, trigger in draft.triggers.items():
        path: Path = ("triggers", number)
        if trigger.id in seen:
            text = f"trigger {number + 1} says the same as trigger {seen[trigger.id]}: drop one"
            yield Fault(path, text)
        seen.setdefault(trigger.id, number + 1)
        if trigger.after == draft.name:
            text = f"{draft.name} would start itself again for ever: name another workflow"
            yield Fault((*path, "after"), text)
        elif trigger.after is not None and known.workflows is not None:
            yield from _unknown("workflow", trigger.after, known.workflows, (*path, "after"))
        yield from _given_faults(trigger, draft.inputs, path)
        for inner, text in trigger_expression_faults(trigger.with_):
            yield Fault((*path, "with", *inner), text)


def _given_faults(
    trigger: WorkflowTrigger, inputs: Mapping[str, Any], path: Path
) -> Iterator[Fault]:
    for name, value in trigger.with_.items():
        if name not in inputs:
            advice = nearest(name, inputs, "declare it under inputs, or drop it")
            yield Fault((*path, "with", name), f"there is no input {name!r}: {advice}")
        elif isinstance(value, str) and is_expression(value):
            continue
        elif not schema_fault(inputs[name]) and (why := mismatch(value, inputs[name])):
            yield Fault((*path, "with", name), f"the input {name} does not fit: {why}")
    for name, schema in inputs.items():
        if isinstance(schema, dict) and "default" not in schema and name not in trigger.with_:
            text = (
                f"the trigger does not give the input {name}: add it to `with`, or give a default"
            )
            yield Fault(path, text)


def _unknown(kind: str, name: str, known: Collection[str], path: Path) -> Iterator[Fault]:
    if name not in known:
        yield Fault(path, f"there is no {kind} {name!r}: {nearest(name, known)}")


def _registered(step: WorkflowStep, name: str, known: Registry) -> Iterator[tuple[Path, str]]:
    works = (
        [((), step)]
        if step.compensate is None
        else [((), step), (("compensate",), step.compensate)]
    )
    for under, work in works:
        named = [
            ("agent", work.agent, known.agents),
            ("task", work.task, known.tasks),
            ("workflow", work.workflow, known.workflows),
            *(("capability", each.value, known.capabilities) for each in work.capabilities),
            *(("tool", each, known.tools) for each in work.tools),
        ]
        for kind, value, names in named:
            if kind == "workflow" and value == name and value is not None:
                text = f"{name} would run itself without end: name another workflow, or use loop"
                yield (*under, kind), text
            elif value is not None and names is not None and not is_expression(value):
                key = {"capability": "capabilities", "tool": "tools"}.get(kind, kind)
                for fault in _unknown(kind, value, names, (*under, key)):
                    yield fault.path, fault.text


@dataclass(frozen=True)
class _Order:
    """Who comes where, who waits for whom, and who stands in for whom."""

    steps: Sequence[WorkflowStep]
    places: Mapping[str, int]
    needed: Mapping[str, Sequence[str]]
    standing_in: Mapping[str, str]


def _order_faults(steps: Sequence[WorkflowStep]) -> Iterator[Fault]:
    places: dict[str, int] = {}
    for number, step in enumerate(steps):
        first = places.setdefault(step.id, number)
        if first != number:
            text = f"the id {step.id!r} was given before, to step {first + 1}: give its own"
            yield Fault(("steps", number, "id"), text, step.id)
    order = _Order(steps, places, needs(steps), fallbacks(steps))
    for number, step in enumerate(steps):
        for rule in (_need_faults, _fallback_faults, _stand_in_faults):
            for key, text in rule(step, order):
                yield Fault(("steps", number, *key), text, step.id)
    for circle in _circles(order.needed):
        chain = " -> ".join(circle)
        text = f"the steps wait for each other in a circle, {chain}: drop one of the needs"
        yield Fault(("steps", places[circle[0]], "needs"), text, circle[0])


def _need_faults(step: WorkflowStep, order: _Order) -> Iterator[Told]:
    for position, needed in enumerate(step.needs or ()):
        path = ("needs", position)
        if needed not in order.places:
            advice = nearest(needed, order.places, "name a step of this file")
            yield path, f"it needs {needed!r}, and there is no such step: {advice}"
        elif needed in order.standing_in and step.id not in order.standing_in:
            other = order.standing_in[needed]
            yield path, f"it needs {needed!r}, which only stands in for {other!r}: need that"
    if step.run_on == "failure" and not order.needed[step.id]:
        yield ("run_on",), "it runs on failure, but of nothing: name in needs what may fail"


def _fallback_faults(step: WorkflowStep, order: _Order) -> Iterator[Told]:
    name, path = step.fallback, ("on_error", "fallback")
    if name is None:
        return
    if name not in order.places:
        advice = nearest(name, order.places, "name a step of this file")
        yield path, f"its fallback {name!r} does not exist: {advice}"
    elif name == step.id:
        yield path, "it is its own fallback: name another step, or use retry"
    elif order.standing_in[name] != step.id:
        other = order.standing_in[name]
        yield path, f"{name!r} is the fallback of {other!r} already: give each step its own"
    elif step.id in order.standing_in:
        other = order.standing_in[step.id]
        yield path, f"it is the fallback of {other!r} and cannot have one itself: drop it"


def _stand_in_faults(step: WorkflowStep, order: _Order) -> Iterator[Told]:
    if step.id not in order.standing_in or step.fallback == step.id:
        return
    for key in ("needs", "run_on", "when"):
        if getattr(step, key) != type(step).model_fields[key].default:
            text = f"{key} has no meaning here: the step runs when {order.standing_in[step.id]!r} failed"
            yield (key,), text


def _circles(needed: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    left = {step: [other for other in others if other in needed] for step, others in needed.items()}
    while True:
        try:
            graphlib.TopologicalSorter(left).prepare()
        except graphlib.CycleError as error:
            # graphlib tells a circle from what is needed to what needs it.
            circle: list[str] = list(reversed(error.args[1]))
            yield circle
            # Without that edge the next circle shows.
            left[circle[0]] = [other for other in left[circle[0]] if other != circle[1]]
        else:
            return
