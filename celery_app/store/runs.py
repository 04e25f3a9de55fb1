"""Runs of workflows: how they stand, and what only they can do.

Invariants
  * How a run stands is read from its tasks, in one look; nothing about it is kept twice.
  * What changes a step is guarded by its fencing token, or by its state where nobody holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from celery_app.errors import UnknownTask
from celery_app.postgres.connection import Database
from celery_app.security.vault import Vault
from celery_app.store.execution import Released, released
from celery_app.store.records import Claim, Start, iso
from workflows.progress import Outlook, outlook, referred, why_skipped
from workflows.state import TaskState
from workflows.workflow import SkipReason, StepResult, Workflow, WorkflowInstance


@dataclass(frozen=True)
class Run:
    """A run as it stands.

    Attributes:
        inside: The workflows inside it: name to digest.
        instance: Definition, inputs and results; of steps that were not asked for without output.
        spec: What its task passes on to its steps: project and priority.
        forked_from: The run whose results it reuses.
    """

    id: str
    root_id: str
    generation: int
    inside: dict[str, str]
    instance: WorkflowInstance
    spec: dict[str, Any]
    budgets: tuple[str, ...]
    start: Start
    created_at: datetime
    forked_from: str | None

    @property
    def workflow(self) -> Workflow:
        """The definition that it keeps."""
        return self.instance.workflow

    @property
    def names(self) -> dict[str, Any]:
        """What expressions know as `run`."""
        return {
            "id": self.id,
            "workflow": self.workflow.name,
            "started_at": self.created_at.isoformat(),
            "due": iso(self.start.due),
            "trigger": self.start.trigger,
            "event": self.start.event,
        }

    def outlook(self) -> Outlook:
        """Return what is to be done next."""
        return outlook(self.workflow, self.instance.results)

    def why_skipped(self, step: str) -> SkipReason | None:
        """Return why a step whose turn it is does not run; None if it does."""
        results = {each: one for each, one in self.instance.results.items() if each != step}
        return why_skipped(self.workflow, results, step)


@dataclass(frozen=True)
class Part:
    """What came of an item, a round or a compensation."""

    state: str
    result: Any
    message: str | None


def share_of(task_id: str) -> str:
    """Return the name of the quota that the items of a step share."""
    return f"key:items of {task_id}"


def step_task_id(run_id: str, generation: int, step: str) -> str:
    """Return the id of the task that a step of a run is."""
    return str(uuid5(UUID(run_id), f"{generation}/{step}"))


class RunStore:
    """Reads runs, and changes their steps.

    Args:
        database: Where they live.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault
        self._definition = lru_cache(maxsize=256)(self._read_definition)

    def definition(self, digest: str) -> Workflow:
        """Return the workflow of that hash."""
        return self._definition(digest)

    def load(self, run_id: str, *, step: str | None = None, outputs: bool = True) -> Run:
        """Return a run with the results of its steps.

        Args:
            run_id: The run.
            step: Only what this step depends on: what it waits for, what it refers to, and what failed.
            outputs: Whether outputs are wanted, too.

        Raises:
            UnknownTask: There is no such run.
        """
        row = self.database.row(
            """
            SELECT r.*, t.root_id, t.state, t.spec, t.budgets
              FROM run r JOIN task t USING (id) WHERE r.id = :id
            """,
            id=run_id,
        )
        if row is None:
            raise UnknownTask(
                f"there is no run {run_id}; `ai-agent workflow runs` shows those there are"
            )
        workflow = self.definition(row.digest)
        named = frozenset(workflow.by_id) if step is None else referred(workflow, step)
        looked_at = named if step is None else named.union(workflow.waits[step], workflow.fallbacks)
        ids = {each: step_task_id(run_id, row.generation, each) for each in looked_at}
        found = self.database.rows(
            """
            SELECT id, step, state, skipped_for, error,
                   CASE WHEN step = ANY (:named) THEN result END AS result
              FROM task WHERE id = ANY (:ids)
            UNION ALL
            SELECT id, step, state, skipped_for, error, NULL
              FROM task WHERE parent_id = :run AND step <> ALL (:looked_at)
                          AND state IN ('failed', 'cancelled')
            """,
            ids=list(ids.values()),
            named=list(named) if outputs else [],
            run=run_id,
            looked_at=list(looked_at),
        )
        results = {
            each.step: _result(each, self._vault)
            for each in found
            if each.step in ids or each.id == step_task_id(run_id, row.generation, each.step)
        }
        start = Start(row.trigger, row.due, self._vault.unpack(row.event, "run.event", run_id))
        # What is stored was checked, and to check a definition takes longer than to run a step.
        instance = WorkflowInstance.model_construct(
            id=UUID(run_id),
            workflow=workflow,
            context=self._vault.unpack(row.context, "run.context", run_id),
            inputs=self._vault.unpack(row.inputs, "run.inputs", run_id),
            results=results,
            status=TaskState(row.state),
        )
        return Run(
            run_id,
            row.root_id,
            row.generation,
            row.inside,
            instance,
            self._vault.unpack(row.spec, "task.spec", run_id),
            tuple(row.budgets),
            start,
            row.created_at,
            row.forked_from,
        )

    def inside(self, root_id: str) -> dict[str, str]:
        """Return the workflows inside the outermost run: name to digest."""
        row = self.database.row("SELECT inside FROM run WHERE id = :id", id=root_id)
        return {} if row is None else dict(row.inside)

    def newest(self, workflow: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the runs that were started last, none that are steps of others."""
        rows = self.database.rows(
            """
            SELECT r.id, r.workflow, r.digest, r.trigger, r.due, r.forked_from, t.state, t.created_at,
                   t.finished_at, t.error
              FROM run r JOIN task t USING (id)
             WHERE t.parent_id IS NULL AND (CAST(:workflow AS text) IS NULL OR r.workflow = :workflow)
             ORDER BY t.created_at DESC LIMIT :limit
            """,
            workflow=workflow,
            limit=limit,
        )
        return [
            {
                "id": row.id,
                "workflow": row.workflow,
                "digest": row.digest,
                "state": row.state,
                "trigger": row.trigger,
                "due": iso(row.due),
                "forked_from": row.forked_from,
                "created_at": iso(row.created_at),
                "finished_at": iso(row.finished_at),
                "error": self._message(row),
            }
            for row in rows
        ]

    def active(self) -> list[str]:
        """Return the ids of the runs that are not over, none that are steps of others."""
        rows = self.database.rows(
            """
            SELECT r.id FROM run r JOIN task t USING (id)
             WHERE t.parent_id IS NULL AND t.state IN ('pending', 'queued', 'running', 'waiting', 'expanded')
             ORDER BY r.created_at
            """
        )
        return [row.id for row in rows]

    def skip(self, claim: Claim, why: SkipReason) -> Released:
        """End a claimed step that is not to run.

        Raises:
            LeaseLost: Somebody else owns it; nothing was written.
        """
        rows = self.database.rows(
            "SELECT * FROM skip_step(:id, :fence, :why)",
            id=claim.id,
            fence=claim.fence,
            why=str(why),
        )
        return released(rows)

    def end_expired(self) -> Released:
        """Stop work that was split up and has not ended in its time."""
        error = {"type": "TimeoutError", "message": "deadline: it has not ended in its time"}
        expired = self.database.rows(
            "SELECT id FROM task WHERE state = 'expanded' AND expires_at <= clock_timestamp() ORDER BY id"
        )
        return released(
            row
            for late in expired
            for row in self.database.rows(
                "SELECT * FROM end_expired(:id, :error)",
                id=late.id,
                error=self._vault.pack(error, "task.error", late.id),
            )
        )

    def results(self, task_ids: Iterable[str]) -> dict[str, Part]:
        """Return those of the given tasks that exist, with what came of them."""
        rows = self.database.rows(
            "SELECT id, state, result, error FROM task WHERE id = ANY (:ids)", ids=list(task_ids)
        )
        return {
            row.id: Part(
                row.state,
                self._vault.unpack(row.result, "task.result", row.id),
                self._message(row),
            )
            for row in rows
        }

    def tokens_to_add(self, task_id: str) -> tuple[int, int]:
        """Return the (prompt, generated) tokens that a task's count lacks of what is below it."""
        row = self.database.row(
            """
            SELECT coalesce(sum(c.prompt_tokens), 0) - t.prompt_tokens AS prompt,
                   coalesce(sum(c.generated_tokens), 0) - t.generated_tokens AS generated
              FROM task t LEFT JOIN task c ON c.parent_id = t.id
             WHERE t.id = :id GROUP BY t.id
            """,
            id=task_id,
        )
        return (0, 0) if row is None else (int(row.prompt), int(row.generated))

    def forget_share(self, task_id: str) -> None:
        """Take away the quota of items that have all succeeded."""
        self.database.rows("DELETE FROM quota WHERE name = :name", name=share_of(task_id))

    def is_run(self, task_id: str) -> bool:
        """Say whether a task is a run with steps of its own."""
        return self.database.row("SELECT 1 FROM run WHERE id = :id", id=task_id) is not None

    def was_undone(self, run_id: str) -> bool:
        """Say whether compensations of a run were begun."""
        row = self.database.row(
            """
            SELECT 1 FROM task WHERE parent_id = :id AND step IS NULL AND started_at IS NOT NULL LIMIT 1
            """,
            id=run_id,
        )
        return row is not None

    def unfinished_parts(self, task_id: str) -> list[str]:
        """Return what a task waited for below it and what did not succeed there, in order."""
        rows = self.database.rows(
            """
            SELECT c.id FROM task c
             WHERE c.parent_id = :id AND c.state IN ('failed', 'cancelled', 'skipped')
               AND c.id IN (SELECT e.task_id FROM edge e WHERE e.body_id = :id
                            UNION SELECT e.task_id FROM edge e JOIN task b ON b.id = e.body_id
                                   WHERE b.parent_id = :id)
             ORDER BY c.position
            """,
            id=task_id,
        )
        return [row.id for row in rows]

    def _read_definition(self, digest: str) -> Workflow:
        row = self.database.row("SELECT body FROM definition WHERE digest = :digest", digest=digest)
        if row is None:
            raise UnknownTask(f"there is no definition {digest}")
        plain = self._vault.unpack(row.body, "definition.body", digest)
        return Workflow.model_validate(plain, by_alias=True, by_name=False)

    def _message(self, row: Any) -> str | None:
        error = self._vault.unpack(row.error, "task.error", row.id) or {}
        return error.get("message")


def _result(row: Any, vault: Vault) -> StepResult:
    state = TaskState(row.state)
    skipped = state is TaskState.SKIPPED
    failed = state is TaskState.FAILED
    error = vault.unpack(row.error, "task.error", row.id) if failed else None
    return StepResult(
        status=state.step_status,
        output=vault.unpack(row.result, "task.result", row.id)
        if state is TaskState.SUCCEEDED
        else None,
        error=None if error is None else str(error.get("message", "")),
        reason=SkipReason(row.skipped_for or "failure") if skipped else None,
    )
