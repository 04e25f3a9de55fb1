"""Whether the expressions of a workflow refer to what will be there when they are evaluated.

Invariant: an expression refers only to declared inputs and to steps that have ended by then. What
cannot be told on paper (`steps[item]`) is refused, so that no run stops over a name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.conditions import RUN_NAMES, names_of
from workflows.edges import fallbacks, needs, upstream
from workflows.errors import InvalidExpression
from workflows.problem import nearest
from workflows.step import Work, WorkflowStep
from workflows.step_rules import Path, Told

__all__ = ["expression_faults", "trigger_expression_faults"]

_ALWAYS = frozenset({"inputs", "steps", "run"})
_PARTS = ("error", "output", "status")
_WHERE = {
    "item": "item is there only with foreach",
    "loop": "loop is there only with loop or foreach",
    "failure": "failure is there only with run_on: failure or always, and in fallbacks",
}


@dataclass(frozen=True)
class _Scope:
    """What the expressions of one place may refer to."""

    roots: frozenset[str]
    inputs: Collection[str]
    steps: Collection[str]
    """Those that have ended by then."""
    everything: Mapping[str, str | None]
    """All ids of the file; for a fallback, the step that it stands in for."""
    step: str = ""


def expression_faults(
    steps: Sequence[WorkflowStep], inputs: Collection[str], outputs: Mapping[str, Any]
) -> Iterator[tuple[Path, str, str]]:
    """Yield what expressions get wrong: the way to it from the top, the words, the step's id."""
    needed, standing_in = needs(steps), fallbacks(steps)
    everything = {step.id: standing_in.get(step.id) for step in steps}
    for number, step in enumerate(steps):
        ended = upstream(needed, step.id)
        roots = _ALWAYS
        if step.run_on != "success" or step.id in standing_in:
            roots |= {"failure"}
        scope = _Scope(roots, inputs, ended, everything, step.id)
        for path, text in _step_faults(step, scope):
            yield ("steps", number, *path), text, step.id
    scope = _Scope(_ALWAYS, inputs, set(everything), everything)
    for path, text in _value_faults(dict(outputs), scope):
        yield ("outputs", *path), text, ""


def trigger_expression_faults(given: Mapping[str, Any]) -> Iterator[Told]:
    """Yield what the expressions in the `with` of a trigger get wrong."""
    return _value_faults(dict(given), _Scope(frozenset({"run"}), (), (), {}))


def _step_faults(step: WorkflowStep, scope: _Scope) -> Iterator[Told]:
    yield from _found(step.foreach, scope, "foreach")
    inner = _with_roots(scope, {"item", "loop"} if step.foreach is not None else set())
    yield from _found(step.when, inner, "when")
    if step.loop is not None:
        inner = _with_roots(inner, {"loop"})
        yield from _found(step.loop.until, inner, "loop", "until")
    yield from _found(step.plan, inner, "plan")
    yield from _work(step, inner)
    if step.approval is not None:
        yield from _found(step.approval.question, scope, "approval", "question")
    if step.compensate is not None:
        undoing = _Scope(
            scope.roots | {"failure"},
            scope.inputs,
            {*scope.steps, step.id},
            scope.everything,
            scope.step,
        )
        yield from _work(step.compensate, undoing, "compensate")


def _with_roots(scope: _Scope, more: Collection[str]) -> _Scope:
    roots = scope.roots.union(more)
    return _Scope(roots, scope.inputs, scope.steps, scope.everything, scope.step)


def _work(work: Work, scope: _Scope, *under: str) -> Iterator[Told]:
    for key, value in (("prompt", work.prompt), ("args", work.args), ("with", work.with_)):
        yield from _found(value, scope, *under, key)


def _found(value: Any, scope: _Scope, *under: str) -> Iterator[Told]:
    for path, text in _value_faults(value, scope):
        yield (*under, *path), text


def _value_faults(value: Any, scope: _Scope) -> Iterator[Told]:
    if isinstance(value, str):
        for text in _text_faults(value, scope):
            yield (), text
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            for path, text in _value_faults(inner, scope):
                yield (key, *path), text


def _text_faults(text: str, scope: _Scope) -> Iterator[str]:
    try:
        names = names_of(text)
    except InvalidExpression as error:
        yield str(error)
        return
    dashed = [name for name in scope.everything if "-" in name]
    # `steps.my-step` reads as `steps.my` minus `step`: only the cause is told.
    for name in dashed:
        if f"steps.{name}" in text:
            yield f'steps.{name} reads as a subtraction: write steps["{name}"]'
            return
    for path in sorted(names.paths):
        fault = _path_fault(path, scope)
        if fault is not None:
            yield fault


def _path_fault(path: tuple[str, ...], scope: _Scope) -> str | None:
    root = path[0]
    if root not in scope.roots:
        if root in _WHERE:
            return f"{root!r} is not known here: {_WHERE[root]}"
        return f"{root!r} is not known here: {nearest(root, scope.roots)}"
    if root == "steps":
        return _step_fault(path, scope)
    known = {"inputs": scope.inputs, "run": RUN_NAMES, "failure": ("step", "message")}.get(root)
    if known is None or len(path) == 1 or path[1] in known:
        return None
    kind = {"inputs": "input"}.get(root, f"part of {root}")
    return f"there is no {kind} {path[1]!r}: {nearest(path[1], known)}"


def _step_fault(path: tuple[str, ...], scope: _Scope) -> str | None:
    if len(path) == 1:
        return "steps alone says nothing that can be checked: write steps.ID.output"
    name = path[1]
    if name not in scope.everything:
        advice = nearest(name, scope.everything, "name a step of this file")
        return f"there is no step {name!r}: {advice}"
    if len(path) > 2 and path[2] not in _PARTS:
        return f"a step has no part {path[2]!r}: write steps.{name}.output, .status or .error"
    if name == scope.step and name not in scope.steps:
        return f"it refers to its own {'.'.join(path)}: that is not there before it has run"
    instead = scope.everything[name]
    if instead is not None and name != scope.step:
        return f"{name!r} only stands in for {instead!r}: refer to steps.{instead}"
    if name not in scope.steps:
        return f"{name!r} need not have run by then: add it to needs"
    return None
