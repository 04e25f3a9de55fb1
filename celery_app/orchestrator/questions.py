"""`Questions`: what workflows ask people now, in all runs."""

from __future__ import annotations

from typing import Any

from celery_app.celery import approvals, guard
from celery_app.security.guard import Guard
from celery_app.security.policy import request

__all__ = ["Questions"]


class Questions:
    """Finds what waits for an answer.

    Args:
        permissions: Says whether whoever asks may; by default the user of this process.
    """

    def __init__(self, permissions: Guard | None = None) -> None:
        self._permissions = permissions or guard()

    def open(self) -> list[dict[str, Any]]:
        """Return the open questions of the runs that whoever asks may see, the oldest first.

        Each is as in the document of a run, with the run's `workflow`.
        """
        return [each for each in approvals.open() if self._may_see(each["workflow"])]

    def _may_see(self, workflow: str) -> bool:
        return self._permissions.decide(request("workflow.read", f"workflow:{workflow}")).allowed
