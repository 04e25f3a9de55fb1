"""Each construct of a workflow, when it goes well and when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from celery_app.orchestrator.workflow_engine import WorkflowEngine
from tests.engine.cases import CASES
from tests.engine.conftest import seen_steps
from tests.worker_process import WorkerProcess
from workflows.errors import AgentSystemError


@pytest.mark.parametrize("name", CASES)
def test_a_construct(
    engine: WorkflowEngine, worker: WorkerProcess, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    inputs = dict(case.inputs)
    if "file" in case.more:
        inputs["file"] = str(tmp_path / "notes")
    run_id = engine.start(case.workflow(name), inputs)
    try:
        engine.wait(run_id, timeout=30)
    except AgentSystemError as error:
        print(error)
    document = engine.get(run_id)
    assert document["state"] == case.state
    assert seen_steps(document) == case.expected
    outputs = {step["id"]: step["output"] for step in document["steps"]}
    assert {step: outputs[step] for step in case.outputs} == case.outputs
    if name == "compensate":
        assert (tmp_path / "notes").read_text().splitlines() == ["two", "one 1"]
