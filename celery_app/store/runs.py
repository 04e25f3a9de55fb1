"""Runs of workflows: how they stand, and what only runs can do: skip a step, ask a person.

Invariants
  * How a run stands is read from its tasks, in one look; nothing about it is kept twice.
  * What changes a step is guarded by its fencing token, or by its state where nobody holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, text

from celery_app.errors import LeaseLost, UnknownTask
from celery_app.postgres.connection import Database
from celery_app.store.execution import Released, released
from celery_app.store.payload import pack, unpack
from celery_app.store.records import Claim, Start
from workflows.progress import Outlook, outlook
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
            "due": None if self.start.due is None else self.start.due.isoformat(),
            "trigger": self.start.trigger,
            "event": self.start.event,
        }

    def outlook(self, without: str | None = None) -> Outlook:
        """Return what is to be done next, as if the step `without` had not been looked at."""
        results = {step: each for step, each in self.instance.results.items() if step != without}
        return outlook(self.workflow, results)


@dataclass(frozen=True)
class Part:
    """What came of an item, a round or a compensation."""

    state: str
    result: Any
    message: str | None


@dataclass(frozen=True)
class Question:
    """What a step asks a person: `question`, `options` and the JSON `schema` of an answer."""

    task_id: str
    asked: dict[str, Any]
    asked_at: datetime
    expires_at: datetime | None
    answered_at: datetime | None
    answered_by: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the public document of a question."""
        times = {
            "asked_at": self.asked_at,
            "expires_at": self.expires_at,
            "answered_at": self.answered_at,
        }
        shown = {name: None if at is None else at.isoformat() for name, at in times.items()}
        return {**self.asked, **shown, "answered_by": self.answered_by}


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
        self._definition = lru_cache(maxsize=256)(self._read_definition)

    def definition(self, digest: str) -> Workflow:
        """Return the workflow of that hash."""
        return self._definition(digest)

    def load(
        self, run_id: str, outputs: Callable[[Workflow], Collection[str]] | None = None
    ) -> Run:
        """Return a run with the results of its steps.

        Args:
            run_id: The run.
            outputs: Tells the steps whose outputs are wanted; by default all are.

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
        ids = {step_task_id(run_id, row.generation, step.id): step.id for step in workflow.steps}
        named = ids.values() if outputs is None else outputs(workflow)
        wanted = [id_ for id_, step in ids.items() if step in named]
        steps = self.database.rows(
            """
            SELECT id, state, skipped_for, error,
                   CASE WHEN id = ANY (:wanted) THEN result END AS result
              FROM task WHERE id = ANY (:ids)
            """,
            ids=list(ids),
            wanted=wanted,
        )
        start = Start(row.trigger, row.due, unpack(row.event))
        instance = WorkflowInstance(
            id=UUID(run_id),
            workflow=workflow,
            context=unpack(row.context),
            inputs=unpack(row.inputs),
            results={ids[step.id]: _result(step) for step in steps},
            status=TaskState(row.state),
        )
        return Run(
            run_id,
            row.root_id,
            row.generation,
            row.inside,
            instance,
            unpack(row.spec),
            tuple(row.budgets),
            start,
            row.created_at,
            row.forked_from,
        )

    def inside(self, root_id: str) -> dict[str, str]:
        """Return the workflows inside the outermost run: name to digest."""
        row = self.database.row("SELECT inside FROM run WHERE id = :id", id=root_id)
        return {} if row is None else dict(row.inside)

    def newest(self, workflow: str | None = None, limit: int = 20) -> list[Any]:
        """Return the runs that were started last, none that are steps of others: id, workflow, state."""
        return list(
            self.database.rows(
                """
                SELECT r.id, r.workflow, r.digest, r.trigger, r.due, r.forked_from, t.state, t.created_at,
                       t.started_at, t.finished_at, t.error
                  FROM run r JOIN task t USING (id)
                 WHERE t.parent_id IS NULL AND (CAST(:workflow AS text) IS NULL OR r.workflow = :workflow)
                 ORDER BY t.created_at DESC LIMIT :limit
                """,
                workflow=workflow,
                limit=limit,
            )
        )

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

    def ask(
        self, claim: Claim, question: dict[str, Any], timeout: float | None, late: dict[str, Any]
    ) -> Released:
        """Let a claimed step wait for a person's answer.

        Args:
            claim: The step.
            question: What is asked: `question`, and the JSON schema of the `answer`.
            timeout: Seconds to wait.
            late: How it ends after that: `state`, `result`, `error`.

        Raises:
            LeaseLost: Somebody else owns it; nothing was written.
        """

        def work(connection: Connection) -> Released:
            row = connection.execute(
                text(
                    "SELECT put_back(:id, :fence, 'waiting', 0, 0, NULL, 'approval', :reason) AS ours"
                ),
                {"id": claim.id, "fence": claim.fence, "reason": "it waits for an answer"},
            ).one()
            if not row.ours:
                raise LeaseLost(f"task {claim.id} is no longer ours; nothing was written")
            connection.execute(
                text(
                    """
                    INSERT INTO approval (task_id, question, expires_at, late_state, late_result, late_error)
                    VALUES (:id, :question, clock_timestamp() + make_interval(secs => :timeout), :state,
                            :result, :error)
                    ON CONFLICT (task_id) DO UPDATE
                       SET question = excluded.question, asked_at = clock_timestamp(),
                           expires_at = excluded.expires_at, late_state = excluded.late_state,
                           late_result = excluded.late_result, late_error = excluded.late_error,
                           answered_at = NULL, answered_by = NULL
                    """
                ),
                {
                    "id": claim.id,
                    "question": pack(question),
                    "timeout": timeout,
                    "state": late["state"],
                    "result": pack(late["result"]) if late["state"] == "succeeded" else None,
                    "error": pack(late["error"]) if late["state"] == "failed" else None,
                },
            )
            return {}

        return self.database.transaction(work)

    def questions(self, task_ids: Iterable[str]) -> dict[str, Question]:
        """Return what those of the given steps asked that have asked something."""
        rows = self.database.rows(
            "SELECT * FROM approval WHERE task_id = ANY (:ids)", ids=list(task_ids)
        )
        return {
            row.task_id: Question(
                row.task_id,
                unpack(row.question),
                row.asked_at,
                row.expires_at,
                row.answered_at,
                row.answered_by,
            )
            for row in rows
        }

    def answer(self, task_id: str, by: str, result: dict[str, Any]) -> Released | None:
        """End a step that waits with a person's answer; None if it was answered before."""

        def work(connection: Connection) -> Released | None:
            taken = connection.execute(
                text(
                    """
                    UPDATE approval SET answered_at = clock_timestamp(), answered_by = :by
                     WHERE task_id = :id AND answered_at IS NULL RETURNING task_id
                    """
                ),
                {"id": task_id, "by": by},
            ).first()
            if taken is None:
                return None
            return released(
                connection.execute(
                    text("SELECT * FROM end_waiting(:id, 'succeeded', :result, NULL)"),
                    {"id": task_id, "result": pack(result)},
                )
            )

        return self.database.transaction(work)

    def end_late(self) -> Released:
        """Answer for those who did not in time, and stop work that was split up and is overdue."""
        error = {"type": "TimeoutError", "message": "deadline: it has not ended in its time"}
        rows = [
            *self.database.rows("SELECT * FROM end_unanswered()"),
            *self.database.rows("SELECT * FROM end_expired(:error)", error=pack(error)),
        ]
        return released(rows)

    def results(self, task_ids: Iterable[str]) -> dict[str, Part]:
        """Return those of the given tasks that exist, with what came of them."""
        rows = self.database.rows(
            "SELECT id, state, result, error FROM task WHERE id = ANY (:ids)", ids=list(task_ids)
        )
        return {
            row.id: Part(row.state, unpack(row.result), (unpack(row.error) or {}).get("message"))
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
        return Workflow.model_validate(unpack(row.body), by_alias=True, by_name=False)


def _result(row: Any) -> StepResult:
    state = TaskState(row.state)
    skipped = state is TaskState.SKIPPED
    error = unpack(row.error) if state is TaskState.FAILED else None
    return StepResult(
        status=state.step_status,
        output=unpack(row.result) if state is TaskState.SUCCEEDED else None,
        error=None if error is None else str(error.get("message", "")),
        reason=SkipReason(row.skipped_for or "failure") if skipped else None,
    )
