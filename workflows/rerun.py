"""Which steps run again when a run is resumed, and which results a fork may reuse.

Both follow one rule: a result holds as long as all that went into it is the same. So what runs again
takes everything after it along, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from workflows.conditions import names_of
from workflows.edges import downstream
from workflows.progress import gave_up
from workflows.state import StepStatus
from workflows.step import WorkflowStep
from workflows.workflow import SkipReason, StepResult, Workflow, WorkflowInstance

__all__ = ["resumed", "reusable"]


def resumed(workflow: Workflow, results: Mapping[str, StepResult]) -> dict[str, bool]:
    """Return the steps that run again after a run failed or was cancelled, in the order of the file.

    The value says whether all of the step is done anew, because something before it runs again; what
    failed by itself keeps those of its items that succeeded.
    """
    waits = workflow.waits
    begun = gave_up(workflow, results)
    stopped = {
        step
        for step, result in results.items()
        if result.status is StepStatus.CANCELLED or result.reason is SkipReason.FAILURE
    }
    again = downstream(waits, begun | stopped)
    return {
        step.id: not again.isdisjoint(waits[step.id]) for step in workflow.steps if step.id in again
    }


def reusable(
    old: WorkflowInstance,
    new: Workflow,
    inputs: Mapping[str, Any],
    *,
    changed_inside: Collection[str] = (),
    again: Collection[str] = (),
) -> list[str]:
    """Return the steps of `new` whose results in the run `old` still hold.

    Args:
        old: The run with its definition, inputs and results.
        new: The definition of the fork.
        inputs: The inputs of the fork.
        changed_inside: Workflows inside it that are not the same any more.
        again: Steps that run again, whether changed or not.
    """
    known = {step.id: step for step in old.workflow.steps}
    different = {
        name for name in {*inputs, *old.inputs} if inputs.get(name) != old.inputs.get(name)
    }
    waits, waited = new.waits, old.workflow.waits
    changed = {
        step.id
        for step in new.steps
        if step.id in again
        or step != known.get(step.id)
        or waits[step.id] != waited[step.id]
        or not _holds(old.results.get(step.id))
        or not different.isdisjoint(_inputs_of(step))
        or step.workflow in changed_inside
    }
    gone = downstream(waits, changed)
    return [step.id for step in new.steps if step.id not in gone]


def _holds(result: StepResult | None) -> bool:
    if result is None:
        return False
    if result.status is StepStatus.SKIPPED:
        return result.reason is not SkipReason.FAILURE
    return result.status is StepStatus.SUCCESS


def _inputs_of(step: WorkflowStep) -> frozenset[str]:
    said = step.model_dump(by_alias=True, exclude_defaults=True, exclude={"compensate"})
    return names_of(said, step=step.id).inputs
