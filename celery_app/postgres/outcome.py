"""How a task of a graph looks to Celery: one row, seen as result metadata.

Invariant: every final state maps to a ready Celery state with a typed exception, so no `get()` hangs.
"""

from __future__ import annotations

from typing import Any

from celery import states

from celery_app.errors import TaskCancelled, TaskFailed, TaskSkipped
from celery_app.security.vault import Vault

#: Celery's word for each of ours; everything else is PENDING.
CELERY_STATES = {
    "running": states.STARTED,
    "expanded": states.STARTED,
    "succeeded": states.SUCCESS,
    "failed": states.FAILURE,
    "cancelled": states.REVOKED,
    "skipped": states.REVOKED,
}


def failure(
    state: str, task_id: str, error: dict[str, Any] | None, cause: str | None
) -> TaskFailed:
    """Return the exception that stands for a task that did not succeed.

    Args:
        state: ``failed``, ``cancelled`` or ``skipped``.
        task_id: The task.
        error: Its stored error, ``{"type", "message"}``.
        cause: The task whose end decided this one's.
    """
    if state == "cancelled":
        return TaskCancelled(f"task {task_id} was cancelled")
    if state == "skipped":
        return TaskSkipped(f"task {task_id} was skipped, because task {cause} did not succeed")
    told = error or {}
    return TaskFailed(
        f"task {task_id} failed: {told.get('type', 'Error')}: {told.get('message', '')}"
    )


def celery_meta(
    task_id: str,
    state: str,
    result: bytes | None,
    error: bytes | None,
    cause: str | None,
    vault: Vault,
) -> dict[str, Any]:
    """Return Celery's result metadata for a row of the graph."""
    status = CELERY_STATES.get(state, states.PENDING)
    value: Any = None
    traceback = None
    if status == states.SUCCESS:
        value = vault.unpack(result, "task.result", task_id)
    elif status in states.PROPAGATE_STATES:
        stored = vault.unpack(error, "task.error", task_id)
        value = failure(state, task_id, stored, cause)
        traceback = (stored or {}).get("traceback")
    return {
        "task_id": task_id,
        "status": status,
        "result": value,
        "traceback": traceback,
        "children": [],
    }
