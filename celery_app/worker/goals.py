"""`project.goal`: where the steps of a goal end. Its result is checked, and kept as an artifact.

Invariant: the artifact and the goal's standing follow from the task and its inputs, so that doing it
twice keeps one artifact; a run that no longer is the goal's writes nothing of how it stands.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID, uuid5

from celery import shared_task

from celery_app.celery import artifacts, projects, store
from celery_app.crash_points import crash_point
from celery_app.errors import TaskFailed
from celery_app.store.records import TaskRecord
from celery_app.worker.execution import this_execution
from celery_app.worker.tools import text_of, title_of
from workflows.artifact import content_of
from workflows.errors import IllegalTransition

__all__ = ["artifact_id", "reach"]


def artifact_id(task_id: UUID | str) -> UUID:
    """Return the id of the artifact that a goal's last task keeps."""
    return uuid5(UUID(str(task_id)), "artifact")


@shared_task(name="project.goal")
def reach(project: str, goal: str) -> Any:
    """Check what the steps of a goal gave, keep it, and note how the goal stands.

    Raises:
        IllegalTransition: Another run works on the goal by now, or none.
        TaskFailed: The result is not as the goal's acceptance checks say.
    """
    claim = this_execution().claim
    found = projects.get(project)
    if str(found.standing(goal).run) != claim.root_id:
        raise _not_ours(found.name, goal, claim.root_id)
    records = store.inputs_of(claim.id)
    result = _together(records)
    checks = {str(check): check.holds(result) for check in found.goal(goal).acceptance}
    content, kind = content_of(result)
    artifacts.put(
        found.name,
        goal,
        content,
        kind,
        id=artifact_id(claim.id),
        run=claim.root_id,
        task=claim.id,
        inputs={title_of(each): _hash(text_of(each)) for each in records},
    )
    crash_point("after-artifact")
    missed = [check for check, holds in checks.items() if holds is False]
    state = "failed" if missed else "to-accept" if None in checks.values() else "reached"
    if not projects.close(str(found.id), goal, claim.root_id, state, checks):
        raise _not_ours(found.name, goal, claim.root_id)
    if missed:
        more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
        raise TaskFailed(
            f"goal {goal} is not reached: its result fails the check {missed[0]}{more}"
        )
    return result


def _not_ours(project: str, goal: str, run_id: str) -> IllegalTransition:
    return IllegalTransition(f"goal {goal} of project {project} is not worked on by run {run_id}")


def _together(records: list[TaskRecord]) -> Any:
    """Return the result of the one last step, or those of several under their titles."""
    if len(records) == 1:
        return records[0].result
    return "\n\n".join(f"## {title_of(record)}\n\n{text_of(record)}" for record in records)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
