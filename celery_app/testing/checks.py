"""What each kind of check looks at.

Invariant: a check returns when it holds and raises `TestError` with what was found when it does not. A
model's judgement is noted and raises nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import httpx

from celery_app.celery import agent_manager
from celery_app.handles import RunHandle
from celery_app.testing.attempt import Attempt, Work
from celery_app.testing.expected import PathTaken, TestCheck
from celery_app.testing.results import Judgement, TestError
from celery_app.testing.seen import alert, event, log
from celery_app.testing.steps import settle
from workflows.problem import shown
from workflows.schemas import mismatch

__all__ = ["look"]

_PATIENCE = 300.0
_VERDICT = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "passed": {"type": "boolean"}},
    "required": ["reason", "passed"],
}
_JUDGE = (
    "Judge a text by a rubric. Say in one sentence why, then whether it passes.\n\n"
    "The rubric: {rubric}\n\nThe text:\n{text}"
)


def look(attempt: Attempt, check: TestCheck) -> None:
    """Raise `TestError` unless a check holds."""
    work = attempt.work(check.of)
    if work.handle or work.started:
        settle(work)
    _CHECKS[check.kind](attempt, check, work)


def _value(check: TestCheck, work: Work) -> Any:
    """Return what is looked at: the output, or the part of it that `at` names."""
    value = work.output
    for key in check.at.split(".") if check.at else ():
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (LookupError, ValueError, TypeError):
            raise TestError(
                f"the output of {work.name} has no {check.at}: {_brief(work.output)}"
            ) from None
    return value


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown(text, 120)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _equals(_: Attempt, check: TestCheck, work: Work) -> None:
    value = _value(check, work)
    if value != check.equals or isinstance(value, bool) != isinstance(check.equals, bool):
        raise TestError(f"it is {_brief(value)}, not {_brief(check.equals)}")


def _contains(_: Attempt, check: TestCheck, work: Work) -> None:
    value = _value(check, work)
    if not _has(value, check.contains):
        raise TestError(f"{_brief(check.contains)} is not in {_brief(value)}")


def _has(value: Any, part: Any) -> bool:
    if isinstance(value, str):
        return str(part) in value
    if isinstance(value, list):
        return part in value
    if isinstance(value, dict) and isinstance(part, dict):
        return all(
            key in value and (value[key] == one or _has(value[key], one))
            for key, one in part.items()
        )
    return isinstance(value, dict) and part in value


def _regex(_: Attempt, check: TestCheck, work: Work) -> None:
    text = _text(_value(check, work))
    if not re.search(check.regex or "", text):
        raise TestError(f"{_brief(check.regex)} is not found in {_brief(text)}")


def _schema(_: Attempt, check: TestCheck, work: Work) -> None:
    value = _value(check, work)
    if why := mismatch(value, check.schema_):
        raise TestError(f"{_brief(value)} does not fit the schema: {why}")


def _state(_: Attempt, check: TestCheck, work: Work) -> None:
    if work.state != check.state:
        raise TestError(f"{work.name} is {work.state}, not {check.state}{work.because}")


def _path(_: Attempt, check: TestCheck, work: Work) -> None:
    ran = _ran(work)
    names = [name for name, _ in ran]
    if isinstance(check.path, list):
        if names != check.path:
            raise TestError(f"what ran is {_brief(names)}, not {_brief(check.path)}")
        return
    assert check.path is not None
    for fault in _strays(check.path, names, ran):
        raise TestError(f"{fault}; what ran is {_brief(names)}")


def _strays(path: PathTaken, names: list[str], ran: list[tuple[str, int]]) -> list[str]:
    faults = [f"{name} did not run" for name in (*path.ran, *path.order) if name not in names]
    faults += [f"{name} ran" for name in path.not_ran if name in names]
    if not faults and (found := [name for name in names if name in path.order]) != path.order:
        faults.append(f"the order is {_brief(found)}, not {_brief(path.order)}")
    for name, times in path.times.items():
        count = sum(number for each, number in ran if each == name)
        if count != times:
            faults.append(f"{name} ran {count} times, not {times}")
    return faults


def _ran(work: Work) -> list[tuple[str, int]]:
    """Return what ran, in the order in which it started, and how often."""
    handle = work.handle or (work.started[-1] if work.started else None)
    if handle is None:
        raise TestError(f"{work.name} is neither a job nor a run")
    document = handle.tree()
    if isinstance(handle, RunHandle):
        ran = [
            each for each in document["steps"] if each["started_at"] and each["state"] != "skipped"
        ]
        ran.sort(key=lambda each: each["started_at"])
        return [(each["id"], max(1, len(each["tasks"]))) for each in ran]
    ran = [each for each in document["tasks"] if each["started_at"] and each["state"] != "skipped"]
    ran.sort(key=lambda each: each["started_at"])
    return [(_title(each), 1) for each in ran]


def _title(task: dict[str, Any]) -> str:
    title = task["metadata"].get("title") or task.get("task") or task["description"]
    return str(title)


def _max_tokens(attempt: Attempt, check: TestCheck, work: Work) -> None:
    _, prompt, generated = _used(attempt, check, work)
    _most(prompt + generated, check.max_tokens, "tokens")


def _max_calls(attempt: Attempt, check: TestCheck, work: Work) -> None:
    _most(_used(attempt, check, work)[0], check.max_calls, "model calls")


def _max_cost(attempt: Attempt, check: TestCheck, work: Work) -> None:
    _, prompt, generated = _used(attempt, check, work)
    _most(attempt.cost(prompt, generated), check.max_cost, "of cost")


def _max_seconds(attempt: Attempt, check: TestCheck, work: Work) -> None:
    taken = work.seconds if check.of else attempt.metrics()["seconds"]
    _most(round(taken, 2), check.max_seconds, "seconds")


def _used(attempt: Attempt, check: TestCheck, work: Work) -> tuple[int, int, int]:
    """Return calls and tokens of a step, or of the whole case where the check names none."""
    if check.of is None:
        found = attempt.metrics()
        return (
            int(found["model_calls"]),
            int(found["prompt_tokens"]),
            int(found["generated_tokens"]),
        )
    handles = [work.handle] if work.handle else work.started
    parts = [attempt.journal.used(str(handle.id)) for handle in handles]
    return sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)


def _most(taken: float, most: float | None, what: str) -> None:
    if most is not None and taken > most:
        raise TestError(f"it took {taken:,} {what}, and may take {most:,}")


def _similar(attempt: Attempt, check: TestCheck, work: Work) -> None:
    similar = check.similar
    assert similar is not None
    texts = [_text(_value(check, work)), similar.to]
    answer = _ask(attempt, "/api/embed", {"model": similar.model or _judge(), "input": texts})
    one, other = answer["embeddings"]
    cosine = sum(a * b for a, b in zip(one, other, strict=True)) / (
        math.hypot(*one) * math.hypot(*other) or 1.0
    )
    if cosine < similar.least:
        raise TestError(
            f"it is {cosine:.3f} like the reference, and must be {similar.least:g}: {_brief(texts[0])}"
        )


def _judged(attempt: Attempt, check: TestCheck, work: Work) -> None:
    judge = check.judge
    assert judge is not None
    asked = _JUDGE.format(rubric=judge.rubric, text=_text(_value(check, work)))
    body = {
        "model": judge.model or _judge(),
        "messages": [{"role": "user", "content": asked}],
        "format": _VERDICT,
        "options": {"num_ctx": 4096, "num_predict": 120, "temperature": 0, "seed": 0},
        "stream": False,
    }
    try:
        verdict = json.loads(_ask(attempt, "/api/chat", body)["message"]["content"])
        judgement = Judgement(judge.rubric, bool(verdict["passed"]), str(verdict["reason"]))
    except (TestError, ValueError, KeyError, TypeError) as error:
        judgement = Judgement(judge.rubric, False, f"there is no verdict: {error}")
    attempt.judgements.append(judgement)


def _judge() -> str:
    """Return the model that is asked unless a check names one: that of the analyst."""
    return agent_manager().get_agent("analyst").profile.model


def _ask(attempt: Attempt, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return what the model server says, its streamed lines as one."""
    try:
        response = httpx.post(f"{attempt.about.model_url}{path}", json=body, timeout=_PATIENCE)
    except httpx.HTTPError as error:
        raise TestError(f"no model server answers at {attempt.about.model_url}: {error}") from error
    if response.status_code != httpx.codes.OK:
        raise TestError(f"the model server says {response.status_code}: {_said(response)}")
    lines = [json.loads(line) for line in response.text.splitlines() if line.strip()]
    content = "".join((line.get("message") or {}).get("content") or "" for line in lines)
    return {**lines[-1], "message": {"content": content}}


def _said(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


_CHECKS: dict[str, Callable[[Attempt, TestCheck, Work], None]] = {
    "equals": _equals,
    "contains": _contains,
    "regex": _regex,
    "schema": _schema,
    "state": _state,
    "path": _path,
    "max_tokens": _max_tokens,
    "max_calls": _max_calls,
    "max_seconds": _max_seconds,
    "max_cost": _max_cost,
    "event": event,
    "log": log,
    "alert": alert,
    "similar": _similar,
    "judge": _judged,
}
