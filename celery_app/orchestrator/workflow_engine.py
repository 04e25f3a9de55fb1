"""`WorkflowEngine`: start, follow and steer runs of workflows. The core is synchronous.

Invariants
  * A run is checked completely before anything of it is written, and written whole or not at all; with
    it its definition and those of the workflows inside it, so that no later change reaches it.
  * The engine keeps nothing. Whatever it does to a run is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult

from celery_app.celery import app, approvals, graphs, guard, queue, runs, store
from celery_app.errors import TaskFailed, UnknownTask, WaitTimeout
from celery_app.orchestrator.asking import require_steps
from celery_app.orchestrator.reopening import Reopening
from celery_app.orchestrator.run_document import document
from celery_app.security.guard import Guard
from celery_app.store.approvals import Question
from celery_app.store.records import Start
from celery_app.store.runs import Run, step_task_id
from celery_app.worker.binding import limits
from celery_app.worker.runs import draw_run
from workflows.errors import IllegalTransition, InvalidInputs, WorkflowError
from workflows.inside import workflows_inside
from workflows.rerun import reusable
from workflows.schemas import mismatch
from workflows.state import StepStatus
from workflows.task import Priority, ResourceRequirements, Task
from workflows.workflow import Workflow, WorkflowInstance

#: Finds the definition of a workflow by its name; raises `InvalidWorkflow` or `UnknownTask`.
Find = Callable[[str], Workflow]


class ActiveRuns(Mapping[UUID, WorkflowInstance]):
    """The runs that are not over, as a mapping over Postgres: nothing is kept in memory."""

    def __getitem__(self, run_id: UUID) -> WorkflowInstance:
        try:
            instance = runs.load(str(run_id)).instance
        except UnknownTask as unknown:
            raise KeyError(run_id) from unknown
        if instance.status.is_final:
            raise KeyError(run_id)
        return instance

    def __iter__(self) -> Iterator[UUID]:
        return (UUID(run_id) for run_id in runs.active())

    def __len__(self) -> int:
        return len(runs.active())


class WorkflowEngine:
    """Starts workflows and steers their runs.

    Args:
        workflows: The workflows that there are, by id.

    Attributes:
        active_instances: The runs that are not over, by id.
        permissions: Says whether whoever asks may; by default the user of this process.
    """

    def __init__(
        self, workflows: Mapping[UUID, Workflow], permissions: Guard | None = None
    ) -> None:
        self.workflows = workflows
        self.permissions = permissions or guard()
        self.active_instances = ActiveRuns()

    async def execute_workflow(
        self, workflow_id: UUID, context: dict[str, Any]
    ) -> WorkflowInstance:
        """Run a workflow to its end.

        Args:
            workflow_id: Follows from its name, see `Workflow.id`.
            context: What its inputs are taken from.

        Returns:
            The run, with `results` by step. Steps that failed are there too; whether that is the end
            of the run is for their `on_error` and the workflow's `error_handling` to say.

        Raises:
            WorkflowError: The run was given up for a step that failed; what the definition says for
                that case has been done (compensation, steps that run on failure).
            InvalidInputs: The context does not fit; nothing was started.
            KeyError: There is no such workflow.
        """
        run_id = await asyncio.to_thread(self.start, self.workflows[workflow_id], context)
        return await asyncio.to_thread(self.wait, run_id)

    def start(
        self,
        workflow: Workflow,
        context: Mapping[str, Any],
        *,
        run_id: UUID | None = None,
        project: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        resources: ResourceRequirements | Mapping[str, Any] | None = None,
        start: Start | None = None,
    ) -> UUID:
        """Start a run. To start it again under the same id changes nothing.

        Args:
            workflow: Its definition.
            context: What its inputs are taken from.
            run_id: Its id, by default a new one.
            project: What it belongs to.
            priority: How urgent its steps are.
            resources: What all of it together may use up.
            start: What started it, if not a person.

        Raises:
            InvalidInputs: The context does not fit.
            PermissionDenied: The workflow is not for whoever asks, or it is none of the files and one
                of its steps is not for them; the first so with all that follows here.
            InvalidWorkflow: A workflow inside it is missing, or contains itself.
            ServiceUnavailable: Postgres or the broker does not answer; nothing was stored.
        """
        self._require_start(workflow)
        inputs = workflow.inputs_from(context)
        task = Task(
            id=run_id or uuid4(),
            description=f"workflow {workflow.name}",
            project=project,
            priority=Priority(priority),
            resource_requirements=ResourceRequirements.model_validate(resources or {}),
        )
        limits().check(task)
        inside = workflows_inside(workflow, self._find)
        queue.ensure_reachable()
        drawn = draw_run(
            task, workflow, inputs, limits(), inside=inside, context=context, start=start
        )
        queue.publish(graphs.add(drawn.requested_by(self.permissions.name)))
        return task.id

    def wait(self, run_id: UUID, timeout: float | None = None) -> WorkflowInstance:
        """Wait for the end of a run, woken by a push.

        Raises:
            WorkflowError: It was given up, unless its workflow goes on after errors.
            WaitTimeout: It is not over after `timeout` seconds; it goes on.
        """
        try:
            AsyncResult(str(run_id), app=app).get(timeout=timeout)
        except CeleryTimeout as error:
            raise WaitTimeout(
                f"run {run_id} is not over after {timeout:g} s; it goes on"
            ) from error
        except TaskFailed as failed:
            run = runs.load(str(run_id))
            if run.workflow.error_handling.strategy == "continue":
                return run.instance
            raise WorkflowError(str(failed)) from failed
        return runs.load(str(run_id)).instance

    def get(self, run_id: UUID | str) -> dict[str, Any]:
        """Return the public document of a run. Raises `UnknownTask`."""
        run = runs.load(str(run_id))
        self._require("workflow.read", run)
        records = store.tree(run.id)
        return document(run, records, approvals.questions(record.id for record in records))

    def newest(self, workflow: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return the runs that were started last, newest first, none that are steps of others."""
        self.permissions.require("workflow.read", f"workflow:{workflow or '*'}")
        return runs.newest(workflow, limit)

    def instance(self, run_id: UUID | str) -> WorkflowInstance:
        """Return a run with its definition and results. Raises `UnknownTask`."""
        run = runs.load(str(run_id))
        self._require("workflow.read", run)
        return run.instance

    def require_read(self, run_id: UUID | str) -> None:
        """Make sure that whoever asks may see a run. Raises `UnknownTask`, `PermissionDenied`."""
        self._require("workflow.read", runs.load(str(run_id), outputs=False))

    def cancel(self, run_id: UUID | str) -> None:
        """Cancel a run; what runs of it stops at once. Raises `UnknownTask`."""
        self._require("workflow.cancel", runs.load(str(run_id), outputs=False))
        queue.publish(graphs.cancel(str(run_id)))

    def approve(
        self, run_id: UUID | str, step: str, *, answer: Any = None, by: str | None = None
    ) -> None:
        """Answer the question of a step with yes.

        Args:
            run_id: The run.
            step: The step that asks.
            answer: One of its options, or what its schema asks for.
            by: Who answers; by default the user of this process.

        Raises:
            InvalidInputs: The answer does not fit.
            IllegalTransition: The step does not wait for an answer; the message says why.
        """
        self._answer(run_id, step, answer, by, approved=True)

    def reject(
        self, run_id: UUID | str, step: str, *, answer: Any = None, by: str | None = None
    ) -> None:
        """Answer the question of a step with no; see `approve`."""
        self._answer(run_id, step, answer, by, approved=False)

    def resume(self, run_id: UUID | str) -> None:
        """Go on with a run that failed or was cancelled; what succeeded and still holds is kept.

        Raises:
            UnknownTask: There is no such run.
            IllegalTransition: It is not over, succeeded, or was undone.
        """
        self._require("workflow.run", runs.load(str(run_id), outputs=False))
        queue.publish(Reopening(runs).resume(str(run_id)))

    def fork(
        self,
        run_id: UUID | str,
        step: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        workflow: Workflow | None = None,
    ) -> UUID:
        """Start a new run that reuses the recorded results of all that has not changed.

        Args:
            run_id: The run whose results are reused.
            step: Run this step and all that follows it again, whether changed or not.
            inputs: Inputs that are to be different.
            workflow: Another definition; by default the one of that run.

        Raises:
            UnknownTask: There is no such run, or no such step.
            InvalidInputs: The inputs do not fit.
        """
        run = runs.load(str(run_id))
        self._require("workflow.run", run)
        if step is not None and step not in {each.id for each in run.workflow.steps}:
            raise UnknownTask(f"workflow {run.workflow.name} has no step {step!r}")
        if workflow is not None:
            self._require_start(workflow)
        definition = workflow or run.workflow
        context = {**run.instance.context, **(inputs or {})}
        given = definition.inputs_from(context)
        inside = self._inside_of_fork(run, definition, workflow is not None)
        same = {name for name, each in inside.items() if run.inside.get(name) == each.digest}
        kept = reusable(
            run.instance,
            definition,
            given,
            changed_inside=inside.keys() - same,
            again=[] if step is None else [step],
        )
        task = Task(
            description=f"workflow {definition.name}",
            project=run.spec.get("project"),
            priority=run.spec.get("priority", Priority.NORMAL),
        )
        reused = {each: step_task_id(run.id, run.generation, each) for each in kept}
        drawn = draw_run(
            task, definition, given, limits(), inside=inside, context=context, start=run.start,
            forked_from=run.id, reused=reused,
        )  # fmt: skip
        queue.publish(graphs.add(drawn.requested_by(self.permissions.name)))
        return task.id

    def _inside_of_fork(self, run: Run, definition: Workflow, anew: bool) -> dict[str, Workflow]:
        """Return the workflows inside a fork: as the run keeps them, unless it has another definition."""
        if anew:
            return workflows_inside(definition, self._find)
        kept = runs.inside(run.root_id)
        return workflows_inside(definition, lambda name: runs.definition(kept[name]))

    def _answer(
        self, run_id: UUID | str, step: str, answer: Any, by: str | None, *, approved: bool
    ) -> None:
        run = runs.load(str(run_id), outputs=False)
        self._require("workflow.answer", run)
        question = _open_question(run, step)
        schema = question.asked["schema"]
        if schema and (approved or answer is not None) and (why := mismatch(answer, schema)):
            raise InvalidInputs(f"step {step!r} of run {run_id}: the answer does not fit: {why}")
        by = by or self.permissions.name.removeprefix("user:")
        result = {"approved": approved, "answer": answer, "by": by}
        released = approvals.answer(question.task_id, by, result)
        if released is None:
            raise IllegalTransition(f"step {step!r} of run {run_id} has just been answered")
        queue.publish(released)

    def _require(self, action: str, run: Run) -> None:
        self.permissions.require(action, f"workflow:{run.workflow.name}")

    def _require_start(self, workflow: Workflow) -> None:
        self.permissions.require("workflow.run", f"workflow:{workflow.name}")
        require_steps(self.permissions, workflow, self.workflows)

    def _find(self, name: str) -> Workflow:
        for workflow in self.workflows.values():
            if workflow.name == name:
                return workflow
        raise UnknownTask(
            f"there is no workflow {name!r}; `ai-agent workflow list` shows those there are"
        )


def _open_question(run: Run, step: str) -> Question:
    """Return the question that a step waits with. Raises `IllegalTransition` if it has none."""
    if step not in run.instance.results:
        asking = [each.id for each in run.workflow.steps if each.approval is not None]
        raise UnknownTask(
            f"run {run.id} has no step {step!r}; those that ask are: {', '.join(asking) or 'none'}"
        )
    task_id = step_task_id(run.id, run.generation, step)
    question = approvals.questions([task_id]).get(task_id)
    status = run.instance.results[step].status
    if question is not None and status is StepStatus.WAITING:
        return question
    if question is not None and question.answered_at is not None:
        by = question.answered_by or "nobody, and its time ran out"
        words = f"it was answered by {by} at {question.answered_at:%Y-%m-%d %H:%M:%S %Z}"
    else:
        words = f"it is {status.value}"
    raise IllegalTransition(f"step {step!r} of run {run.id} waits for no answer: {words}")
