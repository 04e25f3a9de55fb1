"""A suite made from what has run: the same work, and what came of it as the checks.

Invariant: what is written is a sound suite; whatever is not the same twice (ids, times, the words of a
model) is not expected.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import yaml

from celery_app.celery import runs, store
from celery_app.client import Client
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.store.records import TaskRecord
from celery_app.testing.suite import TestSuite
from workflows.workflow import Workflow

__all__ = ["suite_from", "written"]

#: Runs are seldom as brief a second time.
_ROOM = 2
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number"}


def suite_from(client: Client, task_id: UUID, name: str | None = None) -> dict[str, Any]:
    """Return a suite, as its file has it, that does a run or a job again.

    Raises:
        UnknownTask: There is none.
        PermissionDenied: It is not for whoever asks.
    """
    if runs.is_run(str(task_id)):
        handle = client.run(task_id)
        case = _run(handle.tree(), handle.workflow)
    else:
        document = client.task(task_id).tree()
        case = _job(document, store.tree(str(task_id)))
    said = {"name": name or case["name"], "model": "recorded", "cases": [case]}
    TestSuite.model_validate(said, by_alias=True, by_name=False)
    return said


def written(document: dict[str, Any]) -> str:
    """Return a suite as YAML."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _run(document: dict[str, Any], workflow: Workflow) -> dict[str, Any]:
    filed = WorkflowFiles().get(workflow.id)
    known = filed is not None and filed.digest == workflow.digest
    start: dict[str, Any] = {
        "id": "run",
        "workflow": workflow.name if known else workflow.plain(),
        "with": document["inputs"],
    }
    answered = [step for step in document["steps"] if step.get("question", {}).get("answered_at")]
    answers = [_answer(step) for step in answered]
    end = [{"wait": document["state"], "of": "run"}] if answers else []
    checks = [
        {"state": document["state"], "of": "run"},
        {"path": _path(document["steps"]), "of": "run"},
        *_kind_of(document["outputs"], "run"),
        *_most(document["tokens"]),
    ]
    steps = [{**start, **({"background": True} if answers else {})}, *answers, *end]
    return {"name": workflow.name, "steps": steps, "checks": checks}


def _path(steps: list[dict[str, Any]]) -> dict[str, Any]:
    ran = [step for step in steps if step["started_at"] and step["state"] != "skipped"]
    path = {
        "ran": [step["id"] for step in ran],
        "not_ran": [step["id"] for step in steps if step["state"] == "skipped"],
        "times": {step["id"]: len(step["tasks"]) for step in ran if len(step["tasks"]) > 1},
    }
    return {key: value for key, value in path.items() if value}


def _answer(step: dict[str, Any]) -> dict[str, Any]:
    answer = step["output"] or {}
    said = {"answer": answer["answer"]} if answer.get("answer") is not None else {}
    return {"approve" if answer.get("approved") else "reject": step["id"], "of": "run", **said}


def _job(document: dict[str, Any], records: list[TaskRecord]) -> dict[str, Any]:
    root, *below = records
    tasks = [record for record in below if record.spec.get("task")]
    if tasks and len(tasks) == len(below):
        steps = [_task(number, record) for number, record in enumerate(tasks, 1)]
        checks = [check for step, record in zip(steps, tasks, strict=True)
                  for check in _ended(record, step["id"])]  # fmt: skip
        return {"name": "graph", "steps": steps, "checks": checks}
    inputs = {given["name"]: given["text"] for given in root.spec.get("inputs", ())}
    planned = document["plan"] is not None
    step = {"id": "job", "run": root.spec["description"], "plan": planned, "with": inputs}
    checks = [*_ended(root, "job"), *_most(document["tokens"])]
    return {"name": "job", "steps": [step], "checks": checks}


def _task(number: int, record: TaskRecord) -> dict[str, Any]:
    given = {"args": record.spec.get("args"), "with": record.spec.get("kwargs")}
    step = {"id": f"task-{number}", "task": record.spec["task"]}
    return {**step, **{key: value for key, value in given.items() if value}}


def _ended(record: TaskRecord, of: str) -> list[dict[str, Any]]:
    return [{"state": str(record.state), "of": of}, *_kind_of(record.result, of)]


def _kind_of(value: Any, of: str) -> list[dict[str, Any]]:
    """Return a check that the output is of the same kind, whatever its words are."""
    return [] if value is None else [{"schema": _schema(value), "of": of}]


def _schema(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        inner = {key: _schema(one) for key, one in value.items()}
        return {"type": "object", "properties": inner, "required": sorted(inner)}
    if isinstance(value, list):
        return {"type": "array"}
    return {"type": _KINDS[type(value)]} if type(value) in _KINDS else {}


def _most(tokens: dict[str, int]) -> list[dict[str, Any]]:
    total = tokens["prompt"] + tokens["generated"]
    return [{"max_tokens": total * _ROOM}] if total else []
