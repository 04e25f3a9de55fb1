"""A run of a workflow as people and programs see it.

Invariant: the document is read in one look at the tasks; it holds nothing that is not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_app.store.approvals import Question
from celery_app.store.records import TaskRecord, iso
from celery_app.store.runs import Run, step_task_id
from workflows.state import TaskState
from workflows.step import WorkflowStep


def document(
    run: Run, records: Sequence[TaskRecord], questions: Mapping[str, Question]
) -> dict[str, Any]:
    """Return the public document of a run.

    Args:
        run: The run.
        records: Its task and everything below it.
        questions: What steps have asked people, by the step's task.
    """
    root, *below = records
    found = {record.id: record for record in below}
    steps = []
    for step in run.workflow.steps:
        record = found.get(step_task_id(run.id, run.generation, step.id))
        if record is not None:
            steps.append(_step(step, record, below, questions.get(record.id)))
    return {
        "id": run.id,
        "workflow": run.workflow.name,
        "digest": run.workflow.digest,
        "state": str(root.state),
        "inputs": run.instance.inputs,
        "outputs": root.result if root.state is TaskState.SUCCEEDED else None,
        "error": root.told_error(),
        "trigger": run.start.trigger,
        "due": iso(run.start.due),
        "forked_from": run.forked_from,
        "tokens": {"prompt": root.prompt_tokens, "generated": root.generated_tokens},
        "created_at": iso(root.created_at),
        "started_at": iso(root.started_at),
        "finished_at": iso(root.finished_at),
        "steps": steps,
        "questions": _open_questions(records, questions),
    }


def _open_questions(
    records: Sequence[TaskRecord], questions: Mapping[str, Question]
) -> list[dict[str, Any]]:
    """Return what people are asked now, in this run and in those inside it."""
    return [
        {"run": record.parent_id, "step": record.step, **questions[record.id].as_json()}
        for record in records
        if record.state is TaskState.WAITING and record.id in questions
    ]


def _step(
    step: WorkflowStep,
    record: TaskRecord,
    below: Sequence[TaskRecord],
    question: Question | None,
) -> dict[str, Any]:
    parts = [each for each in below if each.parent_id == record.id]
    shown = {
        "id": step.id,
        "kind": step.kind,
        "task_id": record.id,
        "state": str(record.state.step_status),
        "reason": record.skipped_for or record.reason,
        "output": record.result if record.state is TaskState.SUCCEEDED else None,
        "error": record.told_error() if record.state is TaskState.FAILED else None,
        "attempts": record.attempts,
        "started_at": iso(record.started_at),
        "finished_at": iso(record.finished_at),
        "tasks": [each.as_json() for each in parts or [record] if each.name not in _LOOKS],
    }
    if question is not None:
        shown["question"] = question.as_json()
    return shown


#: What a row runs before it is known what it is to do.
_LOOKS = ("workflow.step",)
