"""The questions a planner can put to its model, each with the form of its answer.

`parts` says for each part of the inputs what is to be done with it, and then what with the results;
`outline` is a few titles, for jobs without inputs; both are for small models, which choose
and copy well but cannot be left alone with numbers. `keyed` gives larger models the free hand: what
to do, who does it, which parts and which earlier steps it needs.

Invariant: an answer of any of these forms is acyclic by construction. A step has no way to name
itself or a later one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from agents import plan_gate
from agents.answers import Form
from agents.context import estimate_tokens
from agents.model import Message
from agents.prompt import Prompt
from agents.vocabulary import ACTIONS, ENDINGS, Staff
from workflows.plan import PlanStep
from workflows.problem import shown

__all__ = ["PlanQuestion", "job_of", "keyed", "outline", "parts_steps", "split_job"]

_LONGEST_TITLE = 70
_TITLE = {"type": "string", "minLength": 8, "maxLength": _LONGEST_TITLE}
_MOST_STEPS = 5
_FEWEST_STEPS = 3
_STEP_TOKENS = 30
_KINDS: dict[type, str] = {int: "numbers", str: "names"}

T = TypeVar("T")


@dataclass(frozen=True)
class PlanQuestion:
    """What the model is asked, what its answer must look like, and the tokens that takes."""

    messages: tuple[Message, ...]
    form: Form[list[PlanStep]]
    begun: Callable[[Any], list[PlanStep]]
    """Reads the beginning of an answer as `form.read` reads the whole of it."""
    tokens: int
    explain: bool
    """Whether the model is told what was wrong before it tries again."""


def split_job(job: str, parts: Sequence[str], staff: Staff) -> PlanQuestion:
    """Ask what to do with each part, and with the results."""
    keys = [str(number) for number in range(1, len(parts) + 1)]
    properties: dict[str, Any] = {}
    if len(parts) > 1:
        # Decided first, while the job is near: small models forget it over the parts.
        properties["0"] = {"type": "string", "enum": list(ENDINGS)}
    for key, part in zip(keys, parts, strict=True):
        action = {"type": "string", "enum": list(ACTIONS)}
        properties[key] = _object({"action": action, "part": {"type": "string", "enum": [part]}})

    def read(data: Any, *, whole: bool = True) -> list[PlanStep]:
        answer = _dict(data)
        said = keys if whole else [key for key in keys if key in answer]
        actions = [str(_dict(answer.get(key)).get("action")) for key in said]
        ending = str(answer.get("0")) if len(parts) > 1 and whole else None
        plan_gate.check_actions(job, actions, ending)
        return parts_steps(job, dict(zip(parts, actions, strict=whole)), ending, staff)

    return PlanQuestion(
        messages=Prompt.load("plan_parts").fill(job=job, parts="; ".join(parts)),
        form=Form(_object(properties), read),
        begun=partial(read, whole=False),
        tokens=sum(estimate_tokens(part) + _STEP_TOKENS for part in ("", *parts)),
        explain=False,
    )


def parts_steps(
    job: str, actions: dict[str, str], ending: str | None, staff: Staff
) -> list[PlanStep]:
    """Return a step for each part, and one that needs them all."""
    steps = [
        PlanStep(
            title=part,
            description=f"{action} “{part}”. {job_of(job)}",
            agent=staff.member(ACTIONS[action].agent),
            input_names=[part],
        )
        for part, action in actions.items()
    ]
    if ending is not None:
        last = PlanStep(
            title=ending,
            description=f"{ENDINGS[ending].sentence}. {job_of(job)}",
            agent=staff.member(ENDINGS[ending].agent),
            needs=list(range(1, len(steps) + 1)),
        )
        steps.append(last)
    return steps


def outline(job: str, staff: Staff) -> PlanQuestion:
    """Ask for the titles of three to five steps, one after the other."""
    keys = [str(number) for number in range(1, _MOST_STEPS + 1)]
    schema = _object(dict.fromkeys(keys, _TITLE), required=keys[:_FEWEST_STEPS])

    def read(data: Any, *, whole: bool = True) -> list[PlanStep]:
        titles = [_title(title) for _, title in _in_order(_dict(data))]
        plan_gate.check_titles(job, titles, longest=_LONGEST_TITLE, whole=whole)
        plan_gate.check_verbs(titles)
        return [
            PlanStep(
                title=title,
                description=f"{title}. {job_of(job)}",
                agent=staff.suited(title),
                needs=[number] if number else [],
            )
            for number, title in enumerate(titles)
        ]

    messages = Prompt.load("plan_outline").fill(job=job)
    return PlanQuestion(
        messages=messages,
        form=Form(schema, read),
        begun=partial(read, whole=False),
        tokens=_MOST_STEPS * _STEP_TOKENS,
        explain=False,
    )


def keyed(job: str, parts: Sequence[str], staff: Staff) -> PlanQuestion:
    """Ask for whole steps: action, agent, parts and earlier steps."""
    most = max(_MOST_STEPS, len(parts) + 1)
    numbers = range(1, most + 1)
    schema = _object(
        {str(number): _keyed_step(number, parts, staff) for number in numbers},
        required=[str(number) for number in numbers[: 1 if parts else _FEWEST_STEPS]],
    )

    def read(data: Any, *, whole: bool = True) -> list[PlanStep]:
        entries = [_dict(entry) for _, entry in _in_order(_dict(data))]
        titles = [_title(entry.get("action")) for entry in entries]
        fewest = 1 if parts else _FEWEST_STEPS
        plan_gate.check_titles(job, titles, longest=_LONGEST_TITLE, fewest=fewest, whole=whole)
        steps = [
            PlanStep(
                title=title,
                description=f"{title}. {job_of(job)}",
                agent=str(entry.get("agent")),
                needs=sorted(set(_list(entry, "needs", int))),
                input_names=_list(entry, "inputs", str),
            )
            for title, entry in zip(titles, entries, strict=True)
        ]
        plan_gate.check_use(steps, parts, staff.names, whole=whole)
        return steps

    told = f"\nParts: {'; '.join(parts)}" if parts else ""
    messages = Prompt.load("plan_keyed").fill(job=job, parts=told, agents=", ".join(staff.names))
    return PlanQuestion(
        messages=messages,
        form=Form(schema, read),
        begun=partial(read, whole=False),
        tokens=most * 2 * _STEP_TOKENS,
        explain=True,
    )


def job_of(job: str) -> str:
    """Return the sentence by which a step knows what it is for."""
    words = " ".join(job.split())
    return f"The whole job: {words}" + ("" if words.endswith((".", "!", "?")) else ".")


def _keyed_step(number: int, parts: Sequence[str], staff: Staff) -> dict[str, Any]:
    # Some servers hand properties to the model in alphabetical order; this is one.
    step: dict[str, Any] = {"action": _TITLE, "agent": {"type": "string", "enum": staff.names}}
    if parts:
        names = {"type": "string", "enum": list(parts)}
        step["inputs"] = {"type": "array", "items": names, "maxItems": len(parts)}
    if number > 1:
        earlier = {"type": "integer", "enum": list(range(1, number))}
        step["needs"] = {"type": "array", "items": earlier, "maxItems": number - 1}
    return _object(step)


def _object(properties: dict[str, Any], required: Sequence[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
        "additionalProperties": False,
    }


def _dict(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError("it is not a JSON object of the steps")  # noqa: TRY004 - see Form
    return data


def _list(entry: dict[str, Any], key: str, kind: type[T]) -> list[T]:
    values = entry.get(key) or []
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise ValueError(f"{key} of a step is {shown(values)}, not a list of {_KINDS[kind]}")
    return values


def _in_order(answer: dict[str, Any]) -> list[tuple[int, Any]]:
    if strange := [key for key in answer if not key.isdecimal()]:
        raise ValueError(f"{strange[0]!r} is not the number of a step")
    return sorted((int(key), value) for key, value in answer.items())


def _title(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is not the text of a step")  # noqa: TRY004
    return " ".join(value.split()).rstrip(".")
