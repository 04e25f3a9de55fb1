"""What people do to runs: answer, resume, fork, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.conftest import seen_steps
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


def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)


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


SWITCH = """
name: switch
inputs: {file: {type: string}}
steps:
  - {id: list, task: own.count, args: ["{{ inputs.file }}", list]}
  - {id: items, foreach: [a, b, c], task: own.needs_file, args: ["{{ inputs.file }}", "{{ item }}"]}
  - {id: other, needs: [], task: chore.echo, args: [1]}
  - {id: after, needs: [other, items], task: chore.echo, args: ["{{ steps.items.output }}"]}
"""


def counted(file: Path) -> list[str]:
    return sorted((file.parent / "counted").read_text().split())


def test_a_failed_run_is_resumed_where_it_failed(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "there"
    run_id = engine.start(load(SWITCH), {"file": str(file)})
    with pytest.raises(WorkflowError, match=r"step 'items' failed: item 2 of 3 failed: no .*there"):
        engine.wait(run_id, timeout=20)
    assert seen_steps(engine.get(run_id))["after"] == "skipped failure"
    assert counted(file) == ["a", "b", "c", "list"]
    file.touch()
    engine.resume(run_id)
    engine.wait(run_id, timeout=20)
    assert engine.get(run_id)["outputs"] == {"after": ["a", "b", "c"]}
    # What had succeeded was not done again.
    assert counted(file) == ["a", "b", "b", "c", "list"]
    with pytest.raises(IllegalTransition, match="succeeded and cannot be resumed: fork it"):
        engine.resume(run_id)


def test_a_cancelled_run_is_resumed(engine: WorkflowEngine, worker: WorkerProcess) -> None:
    workflow = load(
        """
name: long
steps:
  - {id: first, task: chore.echo, args: [1]}
  - {id: pause, task: chore.sleep, args: ["{{ 30 if run.trigger is none else 0 }}"]}
  - {id: call, workflow: inner, with: {value: 2}}
"""
    )
    run_id = engine.start(workflow, {})
    until(lambda: seen_steps(engine.get(run_id))["pause"] == "running")
    assert run_id in engine.active_instances
    engine.cancel(run_id)
    until(lambda: engine.get(run_id)["state"] == "cancelled")
    assert run_id not in engine.active_instances
    assert set(seen_steps(engine.get(run_id)).values()) == {"success", "cancelled"}
    engine.resume(run_id)
    until(lambda: seen_steps(engine.get(run_id))["pause"] == "running")
    engine.cancel(run_id)


def test_a_run_inside_a_run_is_resumed_inside(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path
) -> None:
    inner = load(SWITCH)
    outer = load(
        """
name: outer
inputs: {file: {type: string}}
steps:
  - {id: call, workflow: switch, with: {file: "{{ inputs.file }}"}}
  - {id: after, task: chore.echo, args: ["{{ steps.call.output.after }}"]}
"""
    )
    both = WorkflowEngine({inner.id: inner, outer.id: outer})
    file = tmp_path / "there"
    run_id = both.start(outer, {"file": str(file)})
    with pytest.raises(WorkflowError, match="step 'call' failed: step 'items' failed"):
        both.wait(run_id, timeout=20)
    file.touch()
    both.resume(run_id)
    both.wait(run_id, timeout=20)
    assert both.get(run_id)["outputs"] == {"after": ["a", "b", "c"]}
    assert counted(file) == ["a", "b", "b", "c", "list"]


def test_what_was_undone_is_told_and_cannot_be_resumed(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path
) -> None:
    workflow = load(
        """
name: undone
inputs: {file: {type: string}}
error_handling: {strategy: compensate}
steps:
  - id: one
    task: chore.echo
    args: [1]
    compensate: {task: own.note, args: ["{{ inputs.file }}", one]}
  - {id: two, task: chore.echo, args: [2], compensate: {task: chore.fail, args: [stuck]}}
  - id: three
    task: chore.echo
    args: [3]
    compensate: {workflow: inner, with: {value: "{{ steps.three.output }}"}}
  - {id: bad, task: chore.fail, args: [broken]}
"""
    )
    run_id = engine.start(workflow, {"file": str(tmp_path / "notes")})
    with pytest.raises(WorkflowError) as raised:
        engine.wait(run_id, timeout=20)
    # One that cannot be undone does not keep the others from it.
    assert "step 'bad' failed: broken; undone: three, one; could not be undone: two" in str(
        raised.value
    )
    assert (tmp_path / "notes").read_text() == "one\n"
    with pytest.raises(IllegalTransition, match=r"was undone by its compensations.*fork it"):
        engine.resume(run_id)


def test_a_run_inside_a_run_is_tried_again_as_a_whole(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path
) -> None:
    inner = load(
        """
name: twice
inputs: {file: {type: string}}
steps:
  - {id: first, task: own.count, args: ["{{ inputs.file }}", x]}
  - {id: second, task: own.third_line, args: ["{{ inputs.file }}"]}
"""
    )
    outer = load(
        """
name: outer-twice
inputs: {file: {type: string}}
steps:
  - {id: call, workflow: twice, with: {file: "{{ inputs.file }}"}, retry: {max: 2, seconds: 0.1}}
"""
    )
    both = WorkflowEngine({inner.id: inner, outer.id: outer})
    file = tmp_path / "there"
    run_id = both.start(outer, {"file": str(file)})
    both.wait(run_id, timeout=20)
    assert counted(file) == ["x", "x", "x"]


@pytest.mark.parametrize(("named", "tries"), [("Wobble", 3), ("TimeoutError", 1)])
def test_a_step_is_tried_again_by_the_class_of_its_error(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path, named: str, tries: int
) -> None:
    workflow = load(
        f"""
name: by-class
steps:
  - id: bad
    task: own.fail
    args: [broken]
    retry: {{max: 2, seconds: 0.05, backoff: fixed, on: [{named}]}}
    on_error: continue
"""
    )
    run_id = engine.start(workflow, {})
    engine.wait(run_id, timeout=20)
    [step] = engine.get(run_id)["steps"]
    assert (step["state"], step["attempts"]) == ("error", tries)


def test_a_step_has_its_time(engine: WorkflowEngine, worker: WorkerProcess) -> None:
    workflow = load(
        """
name: timed
steps:
  - {id: slow, task: chore.sleep, args: [30], timeout: 1s, on_error: continue}
  - {id: items, foreach: [0, 30], task: chore.sleep, args: ["{{ item }}"], timeout: 1s, on_error: continue}
"""
    )
    run_id = engine.start(workflow, {})
    engine.wait(run_id, timeout=30)
    slow, items = engine.get(run_id)["steps"]
    assert "deadline" in slow["error"]["message"]
    assert items["error"]["message"].startswith("item 2 of 2 failed: deadline")


def test_a_step_is_planned(engine: WorkflowEngine, worker: WorkerProcess) -> None:
    workflow = load(
        """
name: planned
steps:
  - id: job
    plan: Summarise the parts of this document and bring them together.
    with: {notes: "# Bees\n\nBees are busy.\n\n# Rivers\n\nRivers are long."}
  - {id: after, task: chore.echo, args: ["{{ steps.job.output | length > 0 }}"]}
"""
    )
    run_id = engine.start(workflow, {})
    engine.wait(run_id, timeout=120)
    document = engine.get(run_id)
    assert document["outputs"] == {"after": True}
    assert len(document["steps"][0]["tasks"]) > 1
    assert document["tokens"]["generated"] > 0


def test_a_run_has_a_budget_and_a_project(engine: WorkflowEngine, worker: WorkerProcess) -> None:
    from celery_app.celery import store

    workflow = load("name: dear\nsteps: [{id: a, agent: writer, prompt: Say hello.}]")
    run_id = engine.start(workflow, {}, project="garden", resources={"tokens": 1})
    until(lambda: engine.get(run_id)["state"] == "waiting", 60)
    [step] = engine.get(run_id)["steps"]
    assert "tokens" in step["reason"]
    [_, row] = store.tree(str(run_id))
    assert row.spec["project"] == "garden"
    assert row.budgets == ("project:garden", str(run_id))
    engine.cancel(run_id)


def test_a_run_inside_has_its_time(engine: WorkflowEngine, worker: WorkerProcess) -> None:
    inner = load("name: slow\nsteps: [{id: pause, task: chore.sleep, args: [30]}]")
    outer = load(
        "name: hurry\nsteps: [{id: call, workflow: slow, timeout: 1s, on_error: continue}]"
    )
    both = WorkflowEngine({inner.id: inner, outer.id: outer})
    run_id = both.start(outer, {})
    both.wait(run_id, timeout=20)
    [step] = both.get(run_id)["steps"]
    assert step["state"] == "error"
    assert "deadline" in step["error"]["message"]
    assert step["tasks"][0]["state"] == "cancelled"


def test_a_fork_reuses_what_has_not_changed(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "there"
    workflow = load(
        """
name: forked
inputs: {file: {type: string}, word: {type: string, default: one}}
steps:
  - {id: first, task: own.count, args: ["{{ inputs.file }}", first]}
  - {id: second, task: own.count, args: ["{{ inputs.file }}", "{{ inputs.word }}"]}
  - {id: third, task: own.count, args: ["{{ inputs.file }}", third]}
  - {id: apart, needs: [], task: own.count, args: ["{{ inputs.file }}", apart]}
"""
    )
    known = WorkflowEngine({workflow.id: workflow})
    run_id = known.start(workflow, {"file": str(file)})
    known.wait(run_id, timeout=20)
    fork = known.fork(run_id, inputs={"word": "two"})
    known.wait(fork, timeout=20)
    assert counted(file) == sorted(["first", "one", "third", "apart", "two", "third"])
    document = known.get(fork)
    assert document["forked_from"] == str(run_id)
    assert [step["reason"] is not None for step in document["steps"]] == [True, False, False, True]
    again = known.fork(run_id, "third")
    known.wait(again, timeout=20)
    assert counted(file) == sorted(["first", "one", "third", "apart", "two", "third", "third"])
    # With nothing to do at all it ends at once, with the same outputs.
    whole = known.fork(run_id)
    known.wait(whole, timeout=20)
    assert known.get(whole)["outputs"] == known.get(run_id)["outputs"]
    # Another definition of one step: what follows runs again too.
    changed = load(
        """
name: forked
inputs: {file: {type: string}, word: {type: string, default: one}}
steps:
  - {id: first, task: own.count, args: ["{{ inputs.file }}", first]}
  - {id: second, task: own.count, args: ["{{ inputs.file }}", "new {{ inputs.word }}"]}
  - {id: third, task: own.count, args: ["{{ inputs.file }}", third]}
"""
    )
    other = known.fork(run_id, workflow=changed)
    known.wait(other, timeout=20)
    kept = [step["reason"] is not None for step in known.get(other)["steps"]]
    assert kept == [True, False, False]


async def _execute(engine: WorkflowEngine, name: str) -> Any:
    workflow = next(each for each in engine.workflows.values() if each.name == name)
    return await engine.execute_workflow(workflow.id, {})


def test_execute_workflow_as_specified(engine: WorkflowEngine, worker: WorkerProcess) -> None:
    import asyncio

    instance = asyncio.run(_execute(engine, "chain"))
    assert instance.results["three"].output == 3
    assert instance.results["three"].status == "success"
    # A step's error is a result where the run goes on, and an error of the run where it does not.
    assert asyncio.run(_execute(engine, "continue-run")).results["bad"].status == "error"
    with pytest.raises(WorkflowError, match="step 'bad' failed: broken"):
        asyncio.run(_execute(engine, "abort"))


def test_a_run_that_is_started_twice_is_one_run(
    engine: WorkflowEngine, worker: WorkerProcess
) -> None:
    workflow = next(each for each in engine.workflows.values() if each.name == "inputs")
    run_id = uuid4()
    for name in ("ann", "bob"):
        assert engine.start(workflow, {"name": name}, run_id=run_id) == run_id
    engine.wait(run_id, timeout=20)
    document = engine.get(run_id)
    assert document["inputs"]["name"] == "ann"
    assert document["outputs"] == {"greet": "hello, ann"}


def test_a_workflow_may_not_contain_itself() -> None:
    one = load("name: one\nsteps: [{id: a, workflow: two}]")
    two = load("name: two\nsteps: [{id: a, workflow: one}]")
    with pytest.raises(WorkflowError, match="would run itself for ever"):
        WorkflowEngine({one.id: one, two.id: two}).start(one, {})
