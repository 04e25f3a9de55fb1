"""`Guard`: stands before everything that somebody may or may not do.

Invariant: what is denied is told to whoever keeps the record before it is told to whoever asked.
"""

from __future__ import annotations

import functools
import logging
import os
import pwd
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from celery_app.errors import ConfigurationError, PermissionDenied
from celery_app.security.policy import ACTIONS, Decision, Policy, Request, fits, request
from workflows.task import SecurityLevel

__all__ = ["Guard", "Subject", "TokenRefused", "local_user"]

logger = logging.getLogger("celery_app.audit")


@dataclass(frozen=True)
class Subject:
    """Who asks: `user:ann`, `token:ci`, `worker:NAME`, `agent:NAME`, `trigger:WORKFLOW`.

    A token may be limited to `scopes`: patterns of actions. Without scopes it has no limit of its own.
    """

    name: str
    scopes: tuple[str, ...] = ()


class TokenRefused(PermissionDenied):
    """A token lets nobody in; `subject` is whose it was, as far as that is known."""

    def __init__(self, message: str, subject: str = "token:?") -> None:
        super().__init__(message)
        self.subject = subject


@functools.cache
def local_user() -> str:
    """Return the subject that a process without a token is.

    The system is asked, not the environment: LOGNAME is whatever somebody writes there.
    """
    number = os.geteuid()
    try:
        return f"user:{pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user:{number}"


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
        return self._decide(self._subject(), wanted)

    def _decide(self, subject: Subject, wanted: Request) -> Decision:
        if subject.scopes and not any(fits(scope, wanted.action) for scope in subject.scopes):
            scopes = ", ".join(subject.scopes)
            return Decision(False, None, f"the token is limited to {scopes}")
        return self._policy.decide(subject.name, wanted)

    def require_scopes(self, scopes: Collection[str]) -> None:
        """Make sure that whoever asks may give a token these scopes (none: no limit).

        Raises:
            ConfigurationError: One of them means no action.
            PermissionDenied: They would allow more than those of the token that asks.
        """
        for scope in scopes:
            if not any(fits(scope, action) for action in ACTIONS):
                raise ConfigurationError(
                    f"scope {scope!r} means no action: `ai-agent policy actions` lists them"
                )
        own = self._subject().scopes
        for action in ACTIONS if own else ():
            wanted = not scopes or any(fits(scope, action) for scope in scopes)
            if wanted and not any(fits(scope, action) for scope in own):
                raise PermissionDenied(
                    f"a token that is limited to {', '.join(own)} can make none that may {action}: "
                    "give it no more with --scope"
                )

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
        try:
            subject = self._subject()
        except TokenRefused as refused:
            self.tell(refused.subject, wanted, Decision(False, None, str(refused)))
            raise
        decision = self._decide(subject, wanted)
        if decision.allowed:
            return
        self.tell(subject.name, wanted, decision)
        raise PermissionDenied(
            f"{subject.name} may not {action} on {resource}: {decision.why}; "
            f"`ai-agent policy explain {subject.name} {action} {resource}` tells more"
        )

    def tell(self, name: str, wanted: Request, decision: Decision) -> None:
        """Log and record that somebody was denied something."""
        logger.warning("denied: %s %s %s: %s", name, wanted.action, wanted.resource, decision.why)
        self._record(name, wanted, decision)
