"""`project.goal`: where the steps of a goal end. Its result is checked, and kept as an artifact.

Invariant: the artifact and the goal's standing follow from the task and its inputs, so that doing it
twice keeps one artifact; a run that no longer is the goal's writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID, uuid5

from celery import shared_task

from celery_app.celery import artifacts, projects, store
from celery_app.crash_points import crash_point
from celery_app.errors import TaskFailed
from celery_app.store.records import TaskRecord
from celery_app.worker.execution import this_execution
from celery_app.worker.tools import text_of, title_of
from workflows.artifact import ArtifactType
from workflows.errors import IllegalTransition

__all__ = ["reach"]


@shared_task(name="project.goal")
def reach(project: str, goal: str) -> Any:
    """Check what the steps of a goal gave, keep it, and note how the goal stands.

    Raises:
        IllegalTransition: Another run works on the goal by now.
        TaskFailed: The result is not as the goal's acceptance checks say.
    """
    claim = this_execution().claim
    found = projects.get(project)
    standing = found.standings.get(goal)
    if standing is None or str(standing.run) != claim.root_id:
        raise IllegalTransition(
            f"goal {goal} of project {found.name} is not worked on by run {claim.root_id}"
        )
    records = store.inputs_of(claim.id)
    result = _together(records)
    checks = {str(check): check.holds(result) for check in found.spec.goal(goal).acceptance}
    content, type_ = _content(result)
    artifacts.put(
        found.name,
        goal,
        content,
        type_,
        id=uuid5(UUID(claim.id), goal),
        run=claim.root_id,
        task=claim.id,
        inputs={title_of(each): _hash(text_of(each)) for each in records},
    )
    crash_point("after-artifact")
    missed = [check for check, holds in checks.items() if holds is False]
    state = "failed" if missed else "to-accept" if None in checks.values() else "reached"
    projects.close(str(found.id), goal, claim.root_id, state, checks)
    if missed:
        more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
        raise TaskFailed(
            f"goal {goal} is not reached: its result fails the check {missed[0]}{more}"
        )
    return result


def _together(records: list[TaskRecord]) -> Any:
    """Return the result of the one last step, or those of several under their titles."""
    if len(records) == 1:
        return records[0].result
    return "\n\n".join(f"## {title_of(record)}\n\n{text_of(record)}" for record in records)


def _content(result: Any) -> tuple[bytes, ArtifactType]:
    if isinstance(result, str):
        return result.encode(), ArtifactType.TEXT
    return json.dumps(result, ensure_ascii=False, indent=2).encode(), ArtifactType.JSON


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
