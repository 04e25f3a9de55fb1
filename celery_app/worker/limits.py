"""What a task takes from the limits that all workers share, and what it may never ask for.

The rows that come of this are given out by the dispatcher (schema/0006_limits.sql).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agents.profile import AgentProfile
from celery_app.sections import Limit, Resources
from celery_app.sizes import format_size
from celery_app.store.records import NewBudget, NewQuota
from workflows.errors import InvalidTask
from workflows.task import Task

__all__ = ["Limits", "budget_of", "project_budget"]

#: Tasks with one concurrency key run one after another, unless `limits` says otherwise.
_ONE_AT_A_TIME = Limit(concurrency=1)


@dataclass(frozen=True)
class Limits:
    """The limits as they are configured.

    Attributes:
        resources: Processors and memory, for each agent and in total.
        named: What `limits` says, by name or by the beginning of names (`project:*`).
    """

    resources: Resources
    named: Mapping[str, Limit]

    def check(self, task: Task) -> None:
        """Refuse a task that could never run. Raises `InvalidTask`."""
        for member in task.walk():
            asked = member.resource_requirements
            cpu, memory = self.resources.cpu, self.resources.memory
            if asked.cpu is not None and asked.cpu > cpu.limit_per_agent:
                raise InvalidTask(
                    f"task {member.id} asks for {asked.cpu:g} processors and may have "
                    f"{cpu.limit_per_agent:g}: ask for less or raise resources.cpu.limit_per_agent"
                )
            if (asked.memory_bytes or 0) > memory.limit_per_agent:
                raise InvalidTask(
                    f"task {member.id} asks for {asked.memory} of memory and may have "
                    f"{format_size(memory.limit_per_agent)}: "
                    "ask for less or raise resources.memory.limit_per_agent"
                )

    def taken(self, task: Task, agent: AgentProfile | None) -> Iterator[tuple[NewQuota, float]]:
        """Yield each quota that a task takes from, and how much of it."""
        yield from self._resources(task, agent)
        names = {"key": task.concurrency_key, "project": task.project}
        if agent is not None:
            names |= {"agent": agent.name, "model": agent.model}
        for kind, value in names.items():
            if value is not None:
                for quota in self._named(f"{kind}:{value}"):
                    yield quota, 1.0

    def _resources(
        self, task: Task, agent: AgentProfile | None
    ) -> Iterator[tuple[NewQuota, float]]:
        asked, usual = task.resource_requirements, self.resources.model_call
        wanted: dict[str, float] = {
            "cpu": asked.cpu or (usual.cpu if agent else 0),
            "memory": asked.memory_bytes or (usual.memory if agent else 0),
        }
        for name, amount in wanted.items():
            if amount:
                limits = getattr(self.resources, name)
                yield NewQuota(name, capacity=limits.total_limit), amount
                if agent is not None:
                    yield NewQuota(f"{name}:{agent.name}", capacity=limits.limit_per_agent), amount

    def _named(self, name: str) -> Iterator[NewQuota]:
        limit = self._limit_of(name)
        if limit is None:
            return
        if limit.concurrency is not None:
            yield NewQuota(name, capacity=limit.concurrency)
        if limit.per_second is not None:
            yield NewQuota(f"{name} (rate)", rate=limit.per_second)

    def _limit_of(self, name: str) -> Limit | None:
        if name in self.named:
            return self.named[name]
        beginnings = [key for key in self.named if key.endswith("*") and name.startswith(key[:-1])]
        if beginnings:
            return self.named[max(beginnings, key=len)]
        return _ONE_AT_A_TIME if name.startswith("key:") else None


def budget_of(task: Task) -> NewBudget | None:
    """Return what a task, with everything below it, may use up; None if it says nothing of it."""
    asked = task.resource_requirements
    if asked.tokens is None and asked.model_calls is None and asked.seconds is None:
        return None
    return NewBudget(str(task.id), asked.tokens, asked.model_calls, asked.seconds)


def project_budget(name: str) -> NewBudget:
    """Return the budget of a project, which counts and has no limit until it is given one."""
    return NewBudget(f"project:{name}")
