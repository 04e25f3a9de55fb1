"""`PlannerAgent`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from agents.agent import Agent
from agents.model import ChatModel
from agents.profile import AgentProfile
from workflows.plan import Plan
from workflows.task import Task

__all__ = ["PlannerAgent"]


class PlannerAgent(Agent):
    """Breaks jobs into steps."""

    def plan_task_breakdown(
        self,
        task: Task,
        *,
        roster: Sequence[AgentProfile],
        model: ChatModel,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Plan:
        """Return a checked plan for the job."""
        raise NotImplementedError

    def subtasks(self, plan: Plan, task: Task) -> list[Task]:
        """Return the subtasks of a plan that was made for the task, each with its inputs."""
        raise NotImplementedError
