"""Go on with a run that failed or was cancelled.

Invariants
  * Which steps run again is decided on paper (`workflows.rerun`). Of a step that failed by itself, the
    items that succeeded are kept.
  * A run is reopened by one transaction, guarded by its state: of two people one is told that he is late.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from celery_app.errors import LeaseLost
from celery_app.store.execution import Released, released
from celery_app.store.runs import Run, RunStore, step_task_id
from workflows.errors import IllegalTransition
from workflows.rerun import resumed
from workflows.state import TaskState


@dataclass
class Reopening:
    """What is to be opened again, as it is found.

    Args:
        runs: The runs.

    Attributes:
        inside: Tasks that go on with what is below them.
        anew: Tasks that begin again.
        steps: Those of them that are steps, which are looked at again: what they are then.
    """

    runs: RunStore
    inside: set[str] = field(default_factory=set)
    anew: set[str] = field(default_factory=set)
    steps: dict[str, bytes] = field(default_factory=dict)

    def resume(self, run_id: str) -> Released:
        """Open a run again; return what is to be published.

        Raises:
            UnknownTask: There is no such run.
            IllegalTransition: It is not over, succeeded, was undone, or is part of another run.
        """
        run = self.runs.load(run_id)
        if run.root_id != run.id:
            raise IllegalTransition(f"run {run_id} is a step of run {run.root_id}: resume that one")
        state = run.instance.status
        if state not in (TaskState.FAILED, TaskState.CANCELLED):
            advice = "fork it instead" if state.is_final else "it goes on by itself"
            raise IllegalTransition(f"run {run_id} is {state} and cannot be resumed: {advice}")
        if self.runs.was_undone(run_id):
            raise IllegalTransition(
                f"run {run_id} was undone by its compensations and cannot be resumed: fork it instead"
            )
        self._add_run(run)
        try:
            return self.runs.database.transaction(
                lambda connection: self._write(connection, run_id)
            )
        except LeaseLost as late:
            raise IllegalTransition(
                f"run {run_id} has just been resumed by somebody else"
            ) from late

    def _add_run(self, run: Run) -> None:
        self.inside.add(run.id)
        passed_on = {key: run.spec[key] for key in ("project", "priority") if key in run.spec}
        for step_id, whole in resumed(run.workflow, run.instance.results).items():
            step = run.workflow.step(step_id)
            task_id = step_task_id(run.id, run.generation, step_id)
            if whole or not self._add_parts(task_id):
                self.anew.add(task_id)
                described = {"step": step_id, "description": step.description or step_id}
                self.steps[task_id] = self.runs.database.vault.pack(
                    {**passed_on, **described}, "task.spec", task_id
                )

    def _add_parts(self, task_id: str) -> bool:
        """Add what failed below a task; return whether that is all that has to be done again."""
        if self.runs.is_run(task_id):
            self._add_run(self.runs.load(task_id))
            return True
        unfinished = self.runs.unfinished_parts(task_id)
        for part in unfinished:
            if not self._add_parts(part):
                self.anew.add(part)
        if unfinished:
            self.inside.add(task_id)
        return bool(unfinished)

    def _write(self, connection: Connection, run_id: str) -> Released:
        rows = connection.execute(
            text("SELECT * FROM reopen(:run, :inside, :anew, :steps, :specs)"),
            {
                "run": run_id,
                "inside": sorted(self.inside),
                "anew": sorted(self.anew),
                "steps": list(self.steps),
                "specs": list(self.steps.values()),
            },
        )
        return released(rows)
