"""What a worker asks before an agent begins: rights are looked at again where the work is done."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any

from agents.profile import AgentProfile
from celery_app.celery import guard_of, policy, store
from celery_app.security.guard import Guard
from celery_app.security.policy import Request
from workflows.task import SecurityRequirements, Task

__all__ = ["allowed_agents", "require_celery", "require_run", "why_denied"]


def require_run(task: Task, agent: str) -> None:
    """Make sure that this worker may let this agent perform a task, and that the agent may.

    Raises:
        PermissionDenied: One of them may not.
    """
    needed, level = task.required_capabilities, task.security_requirements.level
    _worker().require("task.run", f"agent:{agent}", needed, level)
    guard_of(f"agent:{agent}").require("task.run", f"task:{task.id}", needed, level)


def require_celery(name: str, spec: Mapping[str, Any]) -> None:
    """Make sure that this worker may perform a Celery task for somebody.

    Raises:
        PermissionDenied: It may not.
    """
    wanted = SecurityRequirements.model_validate(spec.get("security_requirements", {}))
    _worker().require("task.run", f"celery:{name}", level=wanted.level)


def _worker() -> Guard:
    return guard_of(f"worker:{socket.gethostname()}")


def why_denied(task: Task, agent: str, tool: str) -> str | None:
    """Return why an agent may not use a tool for a task, by the policy; None if it may.

    A denial is logged and recorded.
    """
    needed, level = task.required_capabilities, task.security_requirements.level
    wanted = Request("tool.use", f"tool:{tool}", frozenset(map(str, needed)), level)
    guard = guard_of(f"agent:{agent}")
    decision = guard.decide(wanted)
    if decision.allowed:
        return None
    guard.tell(guard.name, wanted, decision)
    return f"the policy denies it: {decision.why}"


def allowed_agents(
    task: Task, root_id: str, profiles: Iterable[AgentProfile]
) -> list[AgentProfile]:
    """Return the agents that a task may be planned for: those that whoever asked for it may ask for."""
    subject = store.get(root_id).requested_by
    if subject is None:
        return list(profiles)
    level = task.security_requirements.level
    return [
        profile
        for profile in profiles
        if policy()
        .decide(
            subject,
            Request(
                "task.submit",
                f"agent:{profile.name}",
                frozenset(map(str, profile.capabilities)),
                level,
            ),
        )
        .allowed
    ]
