"""The Celery tasks that carry a run of a workflow from step to step.

``workflow.step`` looks at a step whose turn it is and lets it become what it is to do;
``workflow.collect`` makes its result of its items or rounds; ``workflow.call`` turns a task into a run
inside the run; ``workflow.finish`` compensates, if that is asked for, and ends the run.

Invariant: what is decided follows from the definition and the recorded results. Should the decision be
lost, the next one to ask comes to the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from celery import shared_task

from celery_app.celery import approvals, choose_agent, database, graphs, runs
from celery_app.crash_points import crash_point
from celery_app.errors import TaskFailed
from celery_app.store.execution import ExecutionStore, Released
from celery_app.store.records import Claim
from celery_app.store.runs import Part, Run
from celery_app.worker.binding import limits
from celery_app.worker.execution import Execution, this_execution
from celery_app.worker.runs import StepTasks, draw_run_inside, part_id
from celery_app.worker.triggered import finish_and_start, followers_of
from workflows.conditions import decide, fill, items_of, names_of
from workflows.errors import AgentSystemError, WorkflowError
from workflows.progress import failure, names
from workflows.state import TaskState
from workflows.step import WorkflowStep
from workflows.task import Task
from workflows.workflow import SkipReason

logger = logging.getLogger(__name__)


class _Look:
    """A step of a run, with what is known now."""

    def __init__(self, claim: Claim) -> None:
        assert claim.parent_id is not None, "a step belongs to a run"
        self.claim = claim
        self.run: Run = runs.load(claim.parent_id, step=claim.spec["step"])
        self.step: WorkflowStep = self.run.workflow.step(claim.spec["step"])
        self.tasks = StepTasks(self.run, claim, choose_agent, limits())

    def names(self, **more: Any) -> dict[str, Any]:
        return names(self.run.instance, self.step.id, run=self.run.names, **more)

    def part(self, number: int, names: Mapping[str, Any]) -> Task:
        """Return the task of an item or round."""
        return self.tasks.task(self.step, names, self.step.id, part_id(self.claim, number))

    def holds(self, condition: str | bool, names: Mapping[str, Any]) -> bool:
        return decide(condition, names, step=self.step.id)


@shared_task(name="workflow.step")
def step(**_: Any) -> Any:
    """Skip the step, ask a person, or let the step become the tasks that it stands for."""
    execution = this_execution()
    look = _Look(execution.claim)
    skipped = look.run.why_skipped(look.step.id)
    per_item = look.step.foreach is not None and bool(
        {"item", "loop"} & names_of(look.step.when).roots
    )
    if skipped is None and not per_item and not look.holds(look.step.when, look.names()):
        skipped = SkipReason.CONDITION
    if skipped is not None:
        execution.delegated = runs.skip(execution.claim, skipped)
    elif look.step.approval is not None:
        execution.delegated = _ask(look)
    elif look.step.foreach is not None:
        return _begin_items(execution, look, per_item)
    elif look.step.loop is not None:
        execution.delegated = _begin_round(look, 1, None)
    else:
        task = look.tasks.task(look.step, look.names(), look.step.id, execution.claim.id)
        execution.delegated = graphs.become(execution.claim, look.tasks.in_place(task))
    crash_point("after-step")
    return None


def _begin_items(execution: Execution, look: _Look, per_item: bool) -> list[None] | None:
    foreach = look.step.foreach
    assert foreach is not None
    everywhere = look.names()
    items = items_of(foreach, everywhere, step=look.step.id)
    tasks = {}
    for number, item in enumerate(items):
        known = {**everywhere, "item": item, "loop": {"index": number + 1}}
        if not per_item or look.holds(look.step.when, known):
            tasks[number] = look.part(number, known)
    if not tasks:
        return [None] * len(items)
    execution.delegated = graphs.expand(
        look.claim,
        look.tasks.below(tasks, look.step.max_parallel),
        phase="workflow.collect",
        spec={**look.claim.spec, "parts": len(items)},
    )
    return None


def _begin_round(look: _Look, number: int, previous: Any) -> Released:
    known = look.names(loop={"index": number, "previous": previous})
    return graphs.expand(
        look.claim,
        look.tasks.below({number: look.part(number, known)}),
        phase="workflow.collect",
        spec={**look.claim.spec, "parts": number},
    )


def _ask(look: _Look) -> Released:
    approval = look.step.approval
    assert approval is not None
    options = fill(approval.options, look.names(), step=look.step.id)
    question = {
        "question": fill(approval.question, look.names(), step=look.step.id),
        "options": options,
        "schema": {"enum": options} if options else approval.answer_schema,
    }
    late: dict[str, Any] = {"state": "succeeded", "error": None}
    late["result"] = {
        "approved": approval.at_timeout == "approve",
        "answer": approval.default,
        "by": None,
    }
    if approval.at_timeout == "fail":
        message = f"nobody answered within {approval.timeout:g} s"
        late |= {"state": "failed", "error": {"type": "TimeoutError", "message": message}}
    return approvals.ask(look.claim, question, approval.timeout, late)


@shared_task(name="workflow.call")
def call(workflow: str, inputs: dict[str, Any]) -> None:
    """Become a run of a workflow inside the run, in the version that the outermost run keeps."""
    execution = this_execution()
    claim = execution.claim
    definition = runs.definition(runs.inside(claim.root_id)[workflow])
    drawn = draw_run_inside(claim, definition, definition.inputs_from(inputs))
    execution.delegated = graphs.expand(claim, drawn, phase="workflow.finish")


@shared_task(name="workflow.collect")
def collect(**_: Any) -> Any:
    """Make the result of a step from those of its items, or of its last round.

    Raises:
        TaskFailed: An item or the round did not succeed.
    """
    execution = this_execution()
    claim = execution.claim
    look = _Look(claim)
    count = int(claim.spec["parts"])
    parts = {number: part_id(claim, number) for number in range(count + 1)}
    found = runs.results(parts.values())
    execution.tokens = runs.tokens_to_add(claim.id)
    for number, part in parts.items():
        if part in found and found[part].state != TaskState.SUCCEEDED:
            raise TaskFailed(_what_failed(look.step, number, count, found[part]))
    if look.step.loop is None:
        if look.step.max_parallel is not None:
            runs.forget_share(claim.id)
        return [found[parts[n]].result if parts[n] in found else None for n in range(count)]
    output = found[parts[count]].result
    known = look.names(loop={"index": count, "previous": output})
    if count < look.step.loop.max and not look.holds(look.step.loop.until, known):
        execution.delegated = _begin_round(look, count + 1, output)
    return output


def _what_failed(step: WorkflowStep, number: int, count: int, part: Part) -> str:
    kind = f"round {number}" if step.loop else f"item {number + 1} of {count}"
    return f"{kind} {part.state}: {part.message or ''}".rstrip(": ")


@shared_task(name="workflow.finish")
def finish(**_: Any) -> Any:
    """Undo what is to be undone, and end the run.

    Raises:
        WorkflowError: A step failed for good.
    """
    execution = this_execution()
    claim = execution.claim
    run = runs.load(claim.id)
    outlook = run.outlook()
    execution.tokens = runs.tokens_to_add(claim.id)
    if outlook.ended is TaskState.CANCELLED:
        execution.delegated = ExecutionStore(database).finish(claim, "cancelled")
        return None
    if outlook.ended is TaskState.SUCCEEDED:
        outputs = _outputs(run)
        if claim.parent_id is None:
            now = datetime.now(UTC)
            followers = followers_of(run.workflow.name, claim.id, outputs, now)
            if followers:
                execution.delegated = finish_and_start(claim, outputs, followers, execution.tokens)
        return outputs
    told = failure(run.workflow, run.instance.results) or {"step": "", "message": "it failed"}
    words = f"step {told['step']!r} failed: {told['message']}"
    if outlook.compensate:
        undone = {step: _undo_id(claim, run, step) for step in outlook.compensate}
        standing = runs.results(undone.values())
        if not standing:
            execution.delegated = _compensate(run, claim, undone)
            if execution.delegated is not None:
                return None
        words += "; " + _told_of(undone, standing)
    raise WorkflowError(words)


def _outputs(run: Run) -> dict[str, Any]:
    """What the run gives: as its definition says, or what its last steps gave."""
    workflow = run.workflow
    if workflow.outputs:
        filled: dict[str, Any] = fill(workflow.outputs, names(run.instance, run=run.names))
        return filled
    last = [step for step in workflow.graph.sinks if step not in workflow.fallbacks]
    shown = names(run.instance, run=run.names)["steps"]
    return {step: shown[step]["output"] for step in last}


def _undo_id(claim: Claim, run: Run, step: str) -> str:
    return str(uuid5(UUID(claim.id), f"{run.generation}/undo/{step}"))


def _compensate(run: Run, claim: Claim, undone: Mapping[str, str]) -> Released | None:
    """Draw what undoes the steps, one after the other; None if nothing of it can be done."""
    tasks = StepTasks(run, claim, choose_agent, limits())
    drawn = []
    for step, task_id in undone.items():
        work = run.workflow.step(step).compensate
        assert work is not None
        known = names(run.instance, step, run=run.names)
        try:
            drawn.append(tasks.task(work, known, f"undo {step}", task_id))
        except AgentSystemError as error:
            # The others are undone all the same.
            logger.error("run %s: step %r cannot be undone: %s", run.id, step, error)  # noqa: TRY400
    if not drawn:
        return None
    graph = tasks.one_after_the_other(drawn)
    return graphs.expand(claim, graph, phase="workflow.finish")


def _told_of(undone: Mapping[str, str], standing: Mapping[str, Part]) -> str:
    well = [
        s for s, id_ in undone.items() if id_ in standing and standing[id_].state == "succeeded"
    ]
    badly = [step for step in undone if step not in well]
    words = f"undone: {', '.join(well)}" if well else "nothing was undone"
    return f"{words}; could not be undone: {', '.join(badly)}" if badly else words
