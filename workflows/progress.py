"""How far a run is: what may start, what is skipped and why, and whether it is over.

What satisfies the edge to a step, by how the step before it ended:

    before                                      run_on: success      failure      always
    succeeded                                   satisfied            skipped      satisfied
    skipped for a condition (`when`, `run_on`)  satisfied, null      skipped      satisfied
    failed, on_error: continue                  satisfied, null      skipped      satisfied
    failed, its fallback succeeded              satisfied, its own   skipped      satisfied
    failed, cancelled, skipped for a failure    skipped              satisfied    satisfied

A step starts when every edge to it is satisfied, and is skipped as soon as one cannot be. So one with
several needs runs on failure when all of them failed; needing their common end, it runs when any did.

Invariant: everything follows from the definition and the results, so it may be asked again at any
time, by anyone, and says the same. While nothing is running, something is ready or the run is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows.conditions import names_of
from workflows.edges import upstream
from workflows.state import StepStatus, TaskState
from workflows.workflow import SkipReason, StepResult, Workflow, WorkflowInstance

__all__ = ["Outlook", "failure", "gave_up", "names", "outlook", "referred", "seen", "why_skipped"]


@dataclass(frozen=True)
class Outlook:
    """What is to be done next."""

    ready: tuple[str, ...] = ()
    """Steps that may start now, in the order of the file; their `when` is asked then."""
    skipped: dict[str, SkipReason] = field(default_factory=dict)
    """Steps that will not run, and why; what follows from that is told here already."""
    ended: TaskState | None = None
    """How the run ended, once every step has; None before."""
    compensate: tuple[str, ...] = ()
    """Steps to undo now that the run has ended, one after the other in this order."""


def outlook(workflow: Workflow, results: Mapping[str, StepResult]) -> Outlook:
    """Return what is to be done next, given how the steps stand; those without a result wait."""
    found = _Run(workflow, dict(results))
    skipped = found.settle()
    open_steps = [
        step.id
        for step in workflow.steps
        if step.id not in found.results or not found.results[step.id].is_final
    ]
    if open_steps:
        ready = tuple(
            step for step in open_steps if found.waits(step) and found.verdict(step) is True
        )
        return Outlook(ready, skipped)
    ended = found.ending()
    undone = found.compensations() if ended is TaskState.FAILED else ()
    return Outlook((), skipped, ended, undone)


def referred(workflow: Workflow, step: str) -> frozenset[str]:
    """Return the steps whose outputs a step refers to, and those that may stand in for them."""
    said = workflow.step(step).model_dump(
        by_alias=True, exclude_defaults=True, exclude={"compensate"}
    )
    found = set(names_of(said, step=step).steps)
    stack = list(found)
    while stack:
        instead = workflow.step(stack.pop()).fallback
        if instead is not None and instead not in found:
            found.add(instead)
            stack.append(instead)
    return frozenset(found)


def why_skipped(
    workflow: Workflow, results: Mapping[str, StepResult], step: str
) -> SkipReason | None:
    """Return why a step does not run once all that it waits for has ended; None if it does.

    The same as `outlook` says of it. It takes the results of what the step waits for, of fallbacks, and of
    all that failed or was cancelled.
    """
    return _Run(workflow, dict(results)).skipped(step)


def seen(workflow: Workflow, results: Mapping[str, StepResult]) -> dict[str, StepResult]:
    """Return the results as other steps see them: a fallback's output stands for the failed step's."""
    run = _Run(workflow, dict(results))
    return {step: run.seen(step) for step in results}


def gave_up(workflow: Workflow, results: Mapping[str, StepResult]) -> set[str]:
    """Return the steps that failed or were cancelled, and that nothing makes up for."""
    run = _Run(workflow, dict(results))
    return {step.id for step in workflow.steps if run.broke(step.id)}


def failure(
    workflow: Workflow, results: Mapping[str, StepResult], step: str | None = None
) -> dict[str, str] | None:
    """Return `{step, message}` of the failure that `step` is told of, or None if nothing failed.

    A fallback is told of the step that it stands in for; others of the first step that failed for
    good, and rather of one above them than of another.
    """
    run = _Run(workflow, dict(results))
    above = upstream(workflow.needs, step) if step is not None else frozenset()
    broken = {each for each in results if run.broke(each)}
    order = workflow.graph.order() if broken else ()
    failed = sorted((each for each in order if each in broken), key=lambda each: each not in above)
    standing_in = workflow.fallbacks.get(step or "")
    if standing_in is not None and standing_in in results:
        failed = [standing_in]
    if not failed:
        return None
    result = results[failed[0]]
    return {"step": failed[0], "message": result.error or f"it was {result.status.value}"}


def names(instance: WorkflowInstance, step: str | None = None, **more: Any) -> dict[str, Any]:
    """Return what the expressions of `step` may name; `more` are run, item and loop.

    Steps that have not ended are there with the output null. Pass no step for the outputs of a run.
    """
    shown = seen(instance.workflow, instance.results)
    waiting = StepResult(status=StepStatus.PENDING)
    steps = {}
    for each in instance.workflow.steps:
        result = shown.get(each.id, waiting)
        steps[each.id] = {
            "status": result.status.value,
            "output": result.output,
            "error": result.error,
        }
    told = failure(instance.workflow, instance.results, step)
    return {"inputs": instance.inputs, "steps": steps, "failure": told, **more}


class _Run:
    """A definition and its results, with what was skipped added as it becomes known."""

    def __init__(self, workflow: Workflow, results: dict[str, StepResult]) -> None:
        self.workflow = workflow
        self.results = results
        self._steps = workflow.by_id
        self._needs = workflow.needs
        self._stands_for = workflow.fallbacks
        self._aftermath = workflow.aftermath
        self._aborts = workflow.error_handling.strategy != "continue"

    def settle(self) -> dict[str, SkipReason]:
        """Add the result of every step that cannot run any more, and return them."""
        skipped: dict[str, SkipReason] = {}
        order = self.workflow.graph.order()
        while True:
            # A step that aborts the run may stand after those that it stops.
            aborted = self.is_aborted()
            fresh: dict[str, SkipReason] = {}
            for step in order:
                reason = self._skipped(step, aborted) if self.waits(step) else None
                if reason is not None:
                    fresh[step] = reason
                    self.results[step] = StepResult(status=StepStatus.SKIPPED, reason=reason)
            if not fresh:
                return skipped
            skipped |= fresh

    def is_aborted(self) -> bool:
        """Say whether nothing new may start but what runs on failure, and what follows that."""
        return self._aborts and any(self.broke(step) for step in self.results)

    def skipped(self, step: str) -> SkipReason | None:
        """Say why the step is skipped as things stand, if it is."""
        return self._skipped(step, self.is_aborted())

    def waits(self, step: str) -> bool:
        """Say whether nothing was begun or decided yet."""
        return step not in self.results or self.results[step].status is StepStatus.PENDING

    def verdict(self, step: str) -> bool | SkipReason | None:
        """Say whether the step may start (True), is skipped (why), or cannot be told yet (None)."""
        if step in self._stands_for:
            return self._verdict_of_fallback(self._stands_for[step])
        run_on = self._steps[step].run_on
        undecided = False
        for before in self._needs[step]:
            outcome = self._outcome(before)
            if outcome is None:
                undecided = True
            elif run_on == "success" and not outcome:
                return SkipReason.FAILURE
            elif run_on == "failure" and outcome:
                return SkipReason.CONDITION
        return None if undecided else True

    def seen(self, step: str) -> StepResult:
        """Return the result as those see it that need the step."""
        result = self.results[step]
        fallback = self._steps[step].fallback
        if result.status is StepStatus.ERROR and fallback is not None:
            instead = self.results.get(fallback)
            if instead is not None and instead.status is StepStatus.SUCCESS:
                return instead
        return result

    def broke(self, step: str) -> bool:
        """Say whether the step failed or was cancelled, and nothing makes up for it."""
        if self._is(step, StepStatus.CANCELLED):
            return True
        return self._is(step, StepStatus.ERROR) and self._outcome(step) is False

    def ending(self) -> TaskState:
        """Return how the run ended; every step has a final result."""
        if any(self.broke(step) for step in self._steps if self._is(step, StepStatus.ERROR)):
            return TaskState.FAILED
        cancelled = any(self._is(step, StepStatus.CANCELLED) for step in self._steps)
        return TaskState.CANCELLED if cancelled else TaskState.SUCCEEDED

    def compensations(self) -> tuple[str, ...]:
        """Return what is to be undone: the last first, each before whatever it needed."""
        if self.workflow.error_handling.strategy != "compensate":
            return ()
        return tuple(
            step
            for step in reversed(self.workflow.graph.order())
            if self._steps[step].compensate is not None and self._is(step, StepStatus.SUCCESS)
        )

    def _skipped(self, step: str, aborted: bool) -> SkipReason | None:
        verdict = self.verdict(step)
        if isinstance(verdict, SkipReason):
            return verdict
        return SkipReason.FAILURE if aborted and step not in self._aftermath else None

    def _verdict_of_fallback(self, step: str) -> bool | SkipReason | None:
        result = self.results.get(step)
        if result is None or not result.is_final:
            return None
        return True if result.status is StepStatus.ERROR else SkipReason.UNUSED

    def _outcome(self, step: str) -> bool | None:
        """Say whether the step counts as succeeded for those that need it; None until it is known."""
        result = self.results.get(step)
        if result is None or not result.is_final:
            return None
        if result.status is StepStatus.ERROR:
            return self._outcome_of_error(step)
        if result.status is StepStatus.SKIPPED:
            return result.reason is SkipReason.CONDITION
        return result.status is StepStatus.SUCCESS

    def _outcome_of_error(self, step: str) -> bool | None:
        failed = self._steps[step]
        if failed.fallback is not None:
            # Its own `on_error: continue` decides when the fallback fails as well.
            return self._outcome(failed.fallback)
        return failed.on_error == "continue"

    def _is(self, step: str, status: StepStatus) -> bool:
        return step in self.results and self.results[step].status is status
