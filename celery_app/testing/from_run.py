"""A suite made from what has run: the same work, and what came of it as the checks.

Invariant: what is written is a sound suite; whatever is not the same twice (ids, times, the words of a
model) is not expected.
"""

from __future__ import annotations

from typing import Any

import yaml

from celery_app.client import Client
from celery_app.errors import UnknownTask
from celery_app.testing.suite import TestSuite

__all__ = ["suite_from", "written"]

#: Runs are seldom as quick or as brief a second time.
_ROOM = 2


def suite_from(client: Client, run_id: str, name: str | None = None) -> dict[str, Any]:
    """Return a suite, as its file has it, that does a run or a job again.

    Raises:
        UnknownTask: There is none.
    """
    try:
        document = client.run(run_id).tree()
    except UnknownTask:
        case = _job(client.task(run_id).tree())
    else:
        case = _run(document)
    said = {"name": name or case["name"], "model": "recorded", "cases": [case]}
    TestSuite.model_validate(said, by_alias=True, by_name=False)
    return said


def written(document: dict[str, Any]) -> str:
    """Return a suite as YAML."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _run(document: dict[str, Any]) -> dict[str, Any]:
    ran = [step for step in document["steps"] if step["started_at"] and step["state"] != "skipped"]
    skipped = [step["id"] for step in document["steps"] if step["state"] == "skipped"]
    times = {step["id"]: len(step["tasks"]) for step in ran if len(step["tasks"]) > 1}
    path = {"ran": [step["id"] for step in ran], "not_ran": skipped, "times": times}
    steps: list[dict[str, Any]] = [
        {"id": "run", "workflow": document["workflow"], "with": document["inputs"]}
    ]
    asked = [step for step in document["steps"] if step.get("question", {}).get("answered_at")]
    if asked:
        steps[0]["background"] = True
        steps += [_answered(step) for step in asked]
        steps.append({"wait": document["state"], "of": "run"})
    checks = [
        {"state": document["state"], "of": "run"},
        {"path": {key: value for key, value in path.items() if value}, "of": "run"},
        *_kind_of(document["outputs"], "run"),
        *_most(document["tokens"]),
    ]
    return {"name": document["workflow"], "steps": steps, "checks": checks}


def _answered(step: dict[str, Any]) -> dict[str, Any]:
    answer = step["output"] or {}
    said = {"answer": answer["answer"]} if answer.get("answer") is not None else {}
    return {"approve" if answer.get("approved") else "reject": step["id"], "of": "run", **said}


def _job(document: dict[str, Any]) -> dict[str, Any]:
    planned = document["plan"] is not None
    tasks = [task for task in document["tasks"] if task["task"]]
    step: dict[str, Any] = {"id": "job", "run": document["description"], "plan": planned}
    if not planned and len(document["tasks"]) == len(tasks) == 1:
        step = {"id": "job", "task": tasks[0]["task"], "args": []}
    checks = [
        {"state": document["state"], "of": "job"},
        *_kind_of(document["result"], "job"),
        *_most(document["tokens"]),
    ]
    return {"name": "job", "steps": [step], "checks": checks}


def _kind_of(value: Any, of: str) -> list[dict[str, Any]]:
    """Return a check that the output is of the same kind, whatever its words are."""
    return [] if value is None else [{"schema": _schema(value), "of": of}]


def _schema(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        inner = {key: _schema(one) for key, one in value.items()}
        return {"type": "object", "properties": inner, "required": sorted(inner)}
    if isinstance(value, list):
        return {"type": "array"}
    kinds = {str: "string", bool: "boolean", int: "number", float: "number"}
    return {"type": kinds[type(value)]} if type(value) in kinds else {}


def _most(tokens: dict[str, int]) -> list[dict[str, Any]]:
    total = tokens["prompt"] + tokens["generated"]
    return [{"max_tokens": total * _ROOM}] if total else []
