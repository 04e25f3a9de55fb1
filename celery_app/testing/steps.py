"""What each kind of step does.

Invariant: a step returns when what it set going is over, unless it is in the background; work that
failed is the step's failure, unless a check says how it must end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from agents.model import ToolCall
from agents.tools.library import Artifact, TextLibrary
from celery_app.celery import database, tool_catalogue
from celery_app.errors import TaskFailed, WaitTimeout
from celery_app.handles import RunHandle, TaskHandle
from celery_app.orchestrator.triggers import Triggers
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.store.clock import ClockStore
from celery_app.testing.attempt import Attempt, Work
from celery_app.testing.processes import wait_until
from celery_app.testing.results import TestError
from celery_app.testing.suite import TestStep
from workflows.definitions import load
from workflows.problem import shown
from workflows.state import TaskState
from workflows.task import SecurityRequirements, TaskInput
from workflows.workflow import Workflow

__all__ = ["perform", "settle"]

_FINAL = {str(state) for state in TaskState if state.is_final}


def perform(attempt: Attempt, step: TestStep, number: int) -> None:
    """Do a step, and wait for its end. Raises `TestError`, or what the system says."""
    work = Work(step, number)
    attempt.works.append(work)
    _STEPS[step.kind](attempt, work)
    if work.handle or work.started:
        if step.background:
            return
        settle(work)
        if work.state != "succeeded" and not attempt.expects(step):
            raise TestError(f"it is {work.state}{work.because}")


def settle(work: Work) -> None:
    """Wait until the work of a step is over, and keep what came of it."""
    if work.state is not None:
        return
    if work.handle is None:
        ends = [_end(handle, work.step.timeout) for handle in work.started]
        work.output = [output for _, output, _ in ends]
        work.state = next((state for state, _, _ in ends if state != "succeeded"), "succeeded")
        work.error = "; ".join(error for _, _, error in ends if error)
    else:
        work.state, work.output, work.error = _end(work.handle, work.step.timeout)
        if work.inner is not None and work.state == "succeeded":
            work.output = work.output[work.inner]
    work.seconds = time.monotonic() - work.begun


def _end(handle: TaskHandle, timeout: float) -> tuple[str, Any, str]:
    """Return state, result and error of something once it is over."""
    try:
        return "succeeded", handle.result(timeout), ""
    except TaskFailed as failed:
        return handle.state, None, " ".join(str(failed).split())
    except WaitTimeout as late:
        raise TestError(f"it is {handle.state} after {timeout:g} s") from late


def _run(attempt: Attempt, work: Work) -> None:
    step = work.step
    assert step.run is not None
    work.handle = attempt.client.submit(step.run, plan=step.plan, **_asked(step))


def _agent(attempt: Attempt, work: Work) -> None:
    step = work.step
    assert step.prompt is not None
    work.handle = attempt.client.submit(step.prompt, agent=step.agent, plan=False, **_asked(step))


def _asked(step: TestStep) -> dict[str, Any]:
    return {
        "inputs": [
            TaskInput(name=name, text=text if isinstance(text, str) else json.dumps(text))
            for name, text in step.with_.items()
        ],
        "capabilities": [str(each) for each in step.capabilities],
        "tools": step.tools,
        "network": step.network,
        "output": step.output,
    }


def _task(attempt: Attempt, work: Work) -> None:
    step = work.step
    work.inner = str(uuid4())
    task = {"id": work.inner, "task": step.task, "args": step.args, "kwargs": step.with_}
    work.handle = attempt.client.submit_graph([task], description=step.task)


def _workflow(attempt: Attempt, work: Work) -> None:
    step = work.step
    found = _found(attempt, step.workflow or "")
    work.handle = attempt.client.start_workflow(found, step.with_)


def _found(attempt: Attempt, given: str | dict[str, Any]) -> Workflow:
    """Return the workflow of that name, of that file, or that says so."""
    if isinstance(given, dict):
        return load(json.dumps(given), attempt.case.name)
    path = Path(attempt.about.folder) / given
    if path.suffix in (".yaml", ".yml"):
        return attempt.client.read_workflow(path)
    return WorkflowFiles().named(given)


def _tool(attempt: Attempt, work: Work) -> None:
    step = work.step
    name = step.tool or ""
    attempt.client.permissions.require("tool.use", f"tool:{name}")
    allowed = SecurityRequirements(allowed_tools={name}, network=step.network)
    library = TextLibrary(lambda: _texts(attempt))
    box = tool_catalogue().toolbox([name], allowed, library=library)
    result = box.call(ToolCall(name, json.dumps(step.with_)))
    work.output = result.text
    work.state = "failed" if result.failed or result.refused else "succeeded"
    if work.state == "failed" and not attempt.expects(step):
        raise TestError(result.text)


def _texts(attempt: Attempt) -> Iterator[Artifact]:
    for work in attempt.works:
        if work.output is not None:
            text = work.output if isinstance(work.output, str) else json.dumps(work.output)
            yield Artifact(work.name, text)


def _triggers(attempt: Attempt, work: Work) -> None:
    triggers, files = _clockwork(attempt)
    triggers.register(_found(attempt, work.step.triggers or ""), files.named)


def _clockwork(attempt: Attempt) -> tuple[Triggers, WorkflowFiles]:
    files = WorkflowFiles()
    return Triggers(files, clock=attempt.now, permissions=attempt.client.permissions), files


def _emit(attempt: Attempt, work: Work) -> None:
    step = work.step
    payload = step.with_ or step.data
    work.started = list(attempt.client.emit(step.emit or "", payload))
    if not work.started:
        faults = [each["error"] for each in _clockwork(attempt)[0].listed() if each["error"]]
        why = "; ".join(faults) or "put its triggers in force"
        raise TestError(f"no workflow waits for the event {shown(step.emit)}: {why}")


def _approve(attempt: Attempt, work: Work) -> None:
    step = work.step
    handle = _run_of(attempt, step)
    asking = step.approve or step.reject or ""
    wait_until(
        lambda: asking in _questions(handle) or handle.state in _FINAL,
        step.timeout,
        f"the run asked nothing at {asking} within {step.timeout:g} s",
    )
    answer = handle.approve if step.approve else handle.reject
    answer(asking, answer=step.answer, by="test")


def _questions(handle: RunHandle) -> list[str]:
    return [question["step"] for question in handle.tree()["questions"]]


def _run_of(attempt: Attempt, step: TestStep) -> RunHandle:
    work = attempt.work(step.of)
    handle = work.handle or (work.started[-1] if work.started else None)
    if not isinstance(handle, RunHandle):
        raise TestError(f"{work.name} is no run of a workflow")
    return handle


def _wait(attempt: Attempt, work: Work) -> None:
    step = work.step
    meant = attempt.work(step.of)
    found = ""

    def holds() -> bool:
        nonlocal found
        found = _state_of(meant, step.at)
        return found == step.wait or found in _FINAL

    try:
        wait_until(holds, step.timeout)
    except AssertionError:
        raise TestError(
            f"{meant.name} is {found} after {step.timeout:g} s, not {step.wait}"
        ) from None
    if found in _FINAL and step.at is None:
        settle(meant)
    if found != step.wait:
        raise TestError(f"{meant.name} is {found}, not {step.wait}{meant.because}")


def _state_of(work: Work, at: str | None) -> str:
    handle = work.handle or (work.started[-1] if work.started else None)
    if handle is None:
        return work.state or ""
    if at is None:
        return handle.state
    steps = {step["id"]: step["state"] for step in handle.tree().get("steps", [])}
    return str(steps.get(at, "pending"))


def _clock(attempt: Attempt, work: Work) -> None:
    """Move the clock on, and start what is due then."""
    seconds = work.step.clock or 0.0
    before = {run["id"] for run in attempt.client.runs(limit=10_000)}
    attempt.ahead += timedelta(seconds=seconds)
    ClockStore(database).skip(seconds)
    _clockwork(attempt)[0].start_due()
    fresh = [run["id"] for run in attempt.client.runs(limit=10_000) if run["id"] not in before]
    work.started = [attempt.client.run(run_id) for run_id in reversed(fresh)]


def _fault(attempt: Attempt, work: Work) -> None:
    attempt.faults.strike(work.step.fault or "")


_STEPS: dict[str, Callable[[Attempt, Work], None]] = {
    "run": _run,
    "agent": _agent,
    "task": _task,
    "workflow": _workflow,
    "tool": _tool,
    "triggers": _triggers,
    "emit": _emit,
    "approve": _approve,
    "reject": _approve,
    "wait": _wait,
    "clock": _clock,
    "fault": _fault,
}
