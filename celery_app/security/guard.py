"""`Guard`: stands before everything that somebody may or may not do.

Invariant: what is denied is told to whoever keeps the record before it is told to whoever asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from celery_app.errors import PermissionDenied
from celery_app.security.policy import Decision, Policy, Request, fits, request
from workflows.task import SecurityLevel

__all__ = ["Guard", "Subject"]

logger = logging.getLogger("celery_app.audit")


@dataclass(frozen=True)
class Subject:
    """Who asks: `user:ann`, `token:ci`, `worker:NAME`, `agent:NAME`, `trigger:WORKFLOW`.

    A token may be limited to `scopes`: patterns of actions. Without scopes it has no limit of its own.
    """

    name: str
    scopes: tuple[str, ...] = ()


class Guard:
    """Decides for one subject.

    Args:
        subject: Returns who asks; it raises `PermissionDenied` once their token is no longer good.
        policy: What the rules say.
        record: Is given each denial: subject, request and decision.
    """

    def __init__(
        self,
        subject: Callable[[], Subject],
        policy: Policy,
        record: Callable[[str, Request, Decision], None],
    ) -> None:
        self._subject = subject
        self._policy = policy
        self._record = record

    @property
    def name(self) -> str:
        """Who asks."""
        return self._subject().name

    def decide(self, wanted: Request) -> Decision:
        """Decide, and do nothing else."""
        subject = self._subject()
        if subject.scopes and not any(fits(scope, wanted.action) for scope in subject.scopes):
            scopes = ", ".join(subject.scopes)
            return Decision(False, None, f"the token is limited to {scopes}")
        return self._policy.decide(subject.name, wanted)

    def require(
        self,
        action: str,
        resource: str,
        capabilities: Collection[Any] = (),
        level: SecurityLevel = SecurityLevel.INTERNAL,
    ) -> None:
        """Return if it is allowed.

        Raises:
            PermissionDenied: It is not; that is logged and recorded.
        """
        wanted = request(action, resource, capabilities, level)
        decision = self.decide(wanted)
        if decision.allowed:
            return
        logger.warning("denied: %s %s %s: %s", self.name, action, resource, decision.why)
        self._record(self.name, wanted, decision)
        raise PermissionDenied(
            f"{self.name} may not {action} on {resource}: {decision.why}; "
            f"`ai-agent policy explain {self.name} {action} {resource}` tells more"
        )
