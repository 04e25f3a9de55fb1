"""Runs that are resumed, tried again, and forked: what is done again, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.conftest import seen_steps, until
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import IllegalTransition, WorkflowError

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
    inside = both.get(run_id)["steps"][0]["task_id"]
    with pytest.raises(IllegalTransition, match=f"is a step of run {run_id}: resume that one"):
        both.resume(inside)
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
