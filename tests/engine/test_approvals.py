"""Questions to people: answered once, by whom, in time or not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.conftest import seen_steps, until
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import IllegalTransition, InvalidInputs, WorkflowError

APPROVAL = """
name: ask
steps:
  - {id: draft, task: chore.echo, args: [text]}
  - id: approval
    approval: {question: "Publish '{{ steps.draft.output }}'?", %s}
  - id: publish
    when: "{{ steps.approval.output.approved }}"
    task: chore.echo
    args: ["{{ steps.approval.output.answer }}"]
"""


def waiting(engine: WorkflowEngine, run_id: UUID, step: str) -> None:
    until(lambda: seen_steps(engine.get(run_id)).get(step) == "waiting")


def test_an_approval_holds_no_worker_and_takes_a_typed_answer_once(
    engine: WorkflowEngine, worker: WorkerProcess
) -> None:
    workflow = load(APPROVAL % "options: [now, later, '{{ steps.draft.output }}']")
    run_id = engine.start(workflow, {})
    waiting(engine, run_id, "approval")
    document = engine.get(run_id)
    assert document["state"] == "waiting"
    [_, step, _] = document["steps"]
    assert step["question"]["question"] == "Publish 'text'?"
    with pytest.raises(InvalidInputs, match="approval"):
        engine.approve(run_id, "approval", answer="never", by="ann")
    with pytest.raises(IllegalTransition, match=r"draft.*waits for no answer: it is success"):
        engine.approve(run_id, "draft")
    engine.approve(run_id, "approval", answer="later", by="ann")
    engine.wait(run_id, timeout=20)
    with pytest.raises(IllegalTransition, match="answered by ann at"):
        engine.reject(run_id, "approval", by="bob")
    document = engine.get(run_id)
    assert document["steps"][1]["output"] == {"approved": True, "answer": "later", "by": "ann"}
    assert document["steps"][1]["question"]["answered_by"] == "ann"
    assert document["outputs"] == {"publish": "later"}


def test_a_rejected_question_skips_what_asks_for_a_yes(
    engine: WorkflowEngine, worker: WorkerProcess
) -> None:
    run_id = engine.start(load(APPROVAL % "timeout: 1h"), {})
    waiting(engine, run_id, "approval")
    engine.reject(run_id, "approval", by="bob")
    engine.wait(run_id, timeout=20)
    assert seen_steps(engine.get(run_id))["publish"] == "skipped condition"


@pytest.mark.parametrize(
    ("rule", "end", "output"),
    [
        ("timeout: 1s", "success", {"approved": False, "answer": None, "by": None}),
        ("timeout: 1s, default: now", "success", {"approved": True, "answer": "now", "by": None}),
        ("timeout: 1s, on_timeout: fail", "error", None),
    ],
)
def test_nobody_answers_in_time(
    engine: WorkflowEngine, worker: WorkerProcess, rule: str, end: str, output: Any
) -> None:
    run_id = engine.start(load(APPROVAL % rule), {})
    if end == "error":
        with pytest.raises(WorkflowError, match="nobody answered within 1 s"):
            engine.wait(run_id, timeout=20)
    else:
        engine.wait(run_id, timeout=20)
    step = engine.get(run_id)["steps"][1]
    assert (step["state"], step["output"]) == (end, output)
