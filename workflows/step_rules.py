"""What one step must obey, whatever the steps around it say.

Invariant: each rule is told in its own words, and all that are broken are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from workflows.conditions import gives_value, is_expression
from workflows.schemas import mismatch, schema_fault
from workflows.step import Approval, Work, WorkflowStep

__all__ = ["Path", "Told", "step_faults"]

Path = tuple[str | int, ...]
"""The way to a key: `("with", "names", 0)`."""

Told = tuple[Path, str]
"""Where something is wrong, and what."""

_ID = re.compile(r"[a-z][a-z0-9_-]*")


def step_faults(step: WorkflowStep, unread: Collection[str] = ()) -> Iterator[Told]:
    """Yield what is wrong with the step; `unread` are keys that are there but could not be read."""
    if "id" not in unread and not _ID.fullmatch(step.id):
        yield ("id",), f"the id {step.id!r} must be small letters, digits, _ and -, a letter first"
    yield from _work_faults(step, unread, ("agent", "task", "workflow", "plan", "approval"))
    yield from _kind_faults(step)
    yield from _repetition_faults(step, unread)
    yield from _condition_faults("when", step.when)
    if step.loop is not None:
        yield from _condition_faults("until", step.loop.until, ("loop",))
    if step.output is not None and (fault := schema_fault(step.output)):
        yield ("output",), f"output is no JSON schema: {fault}"
    if step.approval is not None:
        yield from _approval_faults(step.approval)
    if step.compensate is not None:
        for path, text in _work_faults(step.compensate, (), ("agent", "task", "workflow")):
            yield ("compensate", *path), f"compensate: {text}"


def _condition_faults(key: str, condition: str | bool, under: Path = ()) -> Iterator[Told]:
    if isinstance(condition, str) and not gives_value(condition):
        text = f"{key} is {condition!r:.60}: write it in one {{{{ }}}}, with nothing around it"
        yield (*under, key), text


def _work_faults(work: Work, unread: Collection[str], known: Collection[str]) -> Iterator[Told]:
    kinds = [kind for kind in known if kind in work.kinds or kind in unread]
    if not kinds and not {"prompt", "capabilities"}.intersection(unread):
        yield (), f"there is nothing to do: give one of {', '.join(known)}"
    if len(kinds) > 1:
        named = " and ".join(kinds)
        yield (kinds[1],), f"{named} are {len(kinds)} kinds of work: keep one a step"
    if "agent" in work.kinds and not unread:
        yield from _agent_faults(work)
    if work.args and "task" not in kinds:
        yield ("args",), "args go to a Celery task: name it in task, or give `with`"
    for key in ("tools", "network"):
        if getattr(work, key) and kinds and not {"agent", "plan"}.intersection(kinds):
            yield (key,), f"{key} is for agents: name an agent or a plan, or drop it"
    for key in ("agent", "task", "workflow"):
        name = getattr(work, key)
        if name is not None and is_expression(name):
            yield (
                (key,),
                f"{key} is {name!r:.60}: it must be a name, for it is checked before a run",
            )


def _agent_faults(work: Work) -> Iterator[Told]:
    if work.agent and work.capabilities:
        yield ("capabilities",), "agent and capabilities both say who does it: keep one"
    if not work.agent and not work.capabilities:
        yield ("prompt",), "nobody is asked: name an agent, or the capabilities it must have"
    if not work.prompt:
        yield (), "the agent is asked nothing: give a prompt"


def _kind_faults(step: WorkflowStep) -> Iterator[Told]:
    if step.kinds != ["approval"]:
        return
    advice = {
        "foreach": "ask once, with the items in the question",
        "loop": "put both steps into a workflow and loop over that",
        "retry": "drop it",
        "timeout": "give approval.timeout",
        "output": "give approval.answer",
        "with": "drop it",
    }
    for key, what in advice.items():
        name = "with_" if key == "with" else key
        if getattr(step, name) != type(step).model_fields[name].get_default(
            call_default_factory=True
        ):
            yield (key,), f"{key} has no meaning for an approval: {what}"


def _repetition_faults(step: WorkflowStep, unread: Collection[str]) -> Iterator[Told]:
    if step.foreach is not None and step.loop is not None:
        yield ("loop",), "foreach and loop both repeat the step: put one into a workflow of its own"
    if step.max_parallel is not None and step.foreach is None and "foreach" not in unread:
        yield ("max_parallel",), "max_parallel counts items: give foreach, or drop it"
    if isinstance(step.foreach, str) and not gives_value(step.foreach):
        text = f"foreach is {step.foreach!r:.60}: give a list, or one {{{{ }}}} that gives one"
        yield ("foreach",), text


def _approval_faults(approval: Approval) -> Iterator[Told]:
    if approval.options and approval.answer is not None:
        yield ("approval", "answer"), "options and answer both say what is answered: keep one"
    elif approval.answer is not None and (fault := schema_fault(approval.answer)):
        yield ("approval", "answer"), f"answer is no JSON schema: {fault}"
    elif approval.default is not None and (
        why := mismatch(approval.default, approval.answer_schema)
    ):
        yield ("approval", "default"), f"the default is no answer: {why}"
    if approval.timeout is None:
        for key, value in _timed(approval):
            if value is not None:
                yield ("approval", key), f"{key} is for when the time runs out: give a timeout"
    if approval.default is not None and approval.on_timeout in ("reject", "fail"):
        text = f"a default answers, but on_timeout is {approval.on_timeout}: keep one of the two"
        yield ("approval", "default"), text


def _timed(approval: Approval) -> list[tuple[str, Any]]:
    return [("on_timeout", approval.on_timeout), ("default", approval.default)]
