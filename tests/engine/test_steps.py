"""What a step has besides its work: tries, time, a plan, a budget; and what the engine promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.conftest import until
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import WorkflowError


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
