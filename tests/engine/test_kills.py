"""Workers die in the middle of every construct, and what comes of it is the same as without."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from celery_app.client import Client
from celery_app.errors import WaitTimeout
from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.cases import CASES, INNER, Case
from tests.engine.conftest import seen_steps
from tests.worker_process import WorkerProcess
from workflows.definitions import load
from workflows.errors import AgentSystemError

pytestmark = pytest.mark.chaos


def start(engine: WorkflowEngine, name: str, notes: Path) -> UUID:
    case = CASES[name]
    more = {"file": str(notes)} if "file" in case.more else {}
    return engine.start(case.workflow(name), {**case.inputs, **more})


def end(engine: WorkflowEngine, run_id: UUID, timeout: float) -> dict[str, Any]:
    try:
        engine.wait(run_id, timeout)
    except WaitTimeout:
        raise
    except AgentSystemError:
        pass
    return engine.get(run_id)


def assert_as_expected(document: dict[str, Any], case: Case) -> None:
    assert document["state"] == case.state
    assert seen_steps(document) == case.expected
    outputs = {step["id"]: step["output"] for step in document["steps"]}
    assert {step: outputs[step] for step in case.outputs} == case.outputs


def assert_nothing_recorded_twice(run_id: UUID) -> None:
    from celery_app.celery import store

    ends = [
        event["task_id"]
        for event in store.events(str(run_id))
        if event["kind"] in ("succeeded", "failed", "skipped")
    ]
    assert len(ends) == len(set(ends))


def test_all_constructs_at_once_while_workers_are_killed(
    engine: WorkflowEngine, tmp_path: Path
) -> None:
    chance = random.Random(7)
    started = {name: start(engine, name, tmp_path / name) for name in CASES}
    for _ in range(4):
        with WorkerProcess() as doomed:
            time.sleep(chance.uniform(0.1, 0.6))
            doomed.kill()
    with WorkerProcess():
        for name, run_id in started.items():
            assert_as_expected(end(engine, run_id, 60), CASES[name])
            assert_nothing_recorded_twice(run_id)
    notes = (tmp_path / "compensate").read_text().splitlines()
    # A task may run twice, if its worker dies before it is recorded; never in another order.
    assert sorted(set(notes)) == ["one 1", "two"]
    assert notes.index("two") < notes.index("one 1")


TYPED = """
  - id: names
    agent: writer
    prompt: Name two rivers.
    output: {type: array, items: {type: string, maxLength: 40}, minItems: 2, maxItems: 2}
    retry: {max: 2, seconds: 0.1}
  - {id: after, foreach: "{{ steps.names.output }}", task: chore.echo, args: ["{{ item }}"]}
"""
PLANNED = """
  - id: job
    plan: Summarise the parts of this document and bring them together.
    with: {notes: "# Bees\\n\\nBees are busy.\\n\\n# Rivers\\n\\nRivers are long."}
  - {id: after, foreach: ["{{ steps.job.output }}"], task: chore.echo, args: ["{{ item }}"]}
"""

MIDDLE = {
    "foreach": 3,
    "foreach-narrow": 4,
    "loop": 2,
    "loop-bound": 3,
    "abort": 2,
    "compensate": 4,
    "fallback": 2,
    "fallback-fails": 2,
    "inside": 1,
    "inside-each": 2,
    "inside-fails": 2,
    "condition": 2,
    "continue-run": 2,
    "continue-step": 2,
    "retries": 2,
    "output": 2,
    "inputs": 1,
    "bad-expression": 1,
    "fallback-unused": 1,
    "loop-fails": 1,
    "diamond": 3,
    "chain": 2,
    "foreach-some": 2,
    "foreach-fails": 2,
}
"""At which call of its tasks the worker of a case dies."""


@pytest.mark.faults_long
@pytest.mark.parametrize("name", MIDDLE)
def test_a_worker_dies_in_the_middle_of_a_construct(tmp_path: Path, name: str) -> None:
    mortal = {
        each: Case(
            case.steps.replace("chore.echo", "own.echo")
            .replace("chore.fail", "own.fail")
            .replace("own.note", "own.undo"),
            case.expected,
            case.outputs,
            case.state,
            case.inputs,
            case.more,
        )
        for each, case in {name: CASES[name], "inner": INNER}.items()
    }
    engine = WorkflowEngine({(w := c.workflow(n)).id: w for n, c in mortal.items()})
    case = mortal[name]
    more = {"file": str(tmp_path / "notes")} if "file" in case.more else {}
    calls = tmp_path / "calls"
    calls.mkdir()
    run_id = engine.start(case.workflow(name), {**case.inputs, **more})
    with WorkerProcess(MORTAL_AT=f"{calls}:{MIDDLE[name]}") as doomed:
        assert doomed.wait(timeout=30) == -9
    with WorkerProcess():
        assert_as_expected(end(engine, run_id, 60), case)
    assert_nothing_recorded_twice(run_id)


@pytest.mark.faults_long
@pytest.mark.parametrize(
    "name", ["chain", "foreach", "loop", "inside", "condition", "fallback", "timeout"]
)
@pytest.mark.parametrize("place", ["after-step", "after-commit", "before-publish"])
def test_a_worker_dies_between_a_decision_and_its_message(
    engine: WorkflowEngine, tmp_path: Path, name: str, place: str
) -> None:
    run_id = start(engine, name, tmp_path / "notes")
    with WorkerProcess(AI_AGENT_CRASH_AT=f"{place}:{tmp_path / 'died'}") as doomed:
        assert doomed.wait(timeout=30) == -9
    with WorkerProcess():
        assert_as_expected(end(engine, run_id, 60), CASES[name])
    assert_nothing_recorded_twice(run_id)


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("place", "steps"),
    [
        ("before-commit", TYPED),
        ("after-commit", TYPED),
        ("after-expand", PLANNED),
        pytest.param("before-commit", PLANNED, marks=pytest.mark.faults_long),
    ],
)
def test_a_worker_dies_in_a_step_of_an_agent_and_no_answer_is_paid_for_again(
    client: Client, tmp_path: Path, place: str, steps: str
) -> None:
    from celery_app.celery import database

    with WorkerProcess(AI_AGENT_CRASH_AT=f"{place}:{tmp_path / 'died'}") as doomed:
        run = client.start_workflow(load(f"name: agents\nsteps:\n{steps}"))
        assert doomed.wait(timeout=120) == -9
    with WorkerProcess():
        outputs = run.result(timeout=200)
    assert all(outputs["after"])
    calls = database.rows(
        """
        SELECT c.task_id, c.digest, count(*) AS times FROM model_call c JOIN task t ON t.id = c.task_id
         WHERE t.root_id = :id GROUP BY c.task_id, c.digest
        """,
        id=str(run.id),
    )
    assert calls
    assert all(row.times == 1 for row in calls)
    assert_nothing_recorded_twice(run.id)


def test_a_question_survives_everybody(engine: WorkflowEngine, tmp_path: Path) -> None:
    workflow = load(
        """
name: ask-and-die
steps:
  - {id: ask, approval: {question: "Go on?"}}
  - {id: after, task: chore.echo, args: ["{{ steps.ask.output.by }}"]}
"""
    )
    run_id = engine.start(workflow, {})
    with WorkerProcess(AI_AGENT_CRASH_AT=f"after-step:{tmp_path / 'died'}") as doomed:
        assert doomed.wait(timeout=30) == -9
    assert seen_steps(engine.get(run_id))["ask"] == "waiting"
    engine.approve(run_id, "ask", by="ann")
    with WorkerProcess():
        engine.wait(run_id, timeout=30)
    assert engine.get(run_id)["outputs"] == {"after": "ann"}
