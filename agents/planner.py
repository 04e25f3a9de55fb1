"""`PlannerAgent`: a job becomes a plan, always.

The model is asked up to four times, each time warmer; what it says must pass the gate. After that
the plan comes from rules. Either way the plan says where it came from.

Invariant: a plan with `source="model"` is the model's own answer, read but not repaired; and every
plan that leaves here was checked against the roster and the parts of the task's inputs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from agents.agent import Agent
from agents.answers import ask, refusals_counted
from agents.errors import ContextOverflow, ReplyTruncated, UnreadableAnswer
from agents.fallback import fallback_steps
from agents.meter import Meter
from agents.model import ChatModel, ChatRequest
from agents.parts import divide
from agents.plan_forms import PlanQuestion, keyed, outline, split_job
from agents.profile import AgentProfile
from agents.vocabulary import Staff
from workflows.plan import Plan, PlanStep, PlanTokens
from workflows.task import Task, TaskInput

__all__ = ["PlannerAgent"]

logger = logging.getLogger(__name__)

# The first try is cold: it is the best one. The others differ from it and from each other.
_WARMER = (0.4, 0.7, 0.9)


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
        """Return a checked plan for the job.

        Its steps name parts of the task's inputs; `subtasks` turns them into tasks. Raises
        `AgentError` only where no model answers; an answer that is of no use makes a fallback plan.
        """
        parts = [part.name for part in self.parts(task)]
        staff = Staff(roster)
        meter = Meter(model, on_text, cancel)
        steps, source = self._steps(task, parts, staff, meter)
        plan = Plan(
            job=task.description,
            steps=steps,
            source=source,
            tries=meter.calls,
            tokens=PlanTokens(prompt=meter.usage.prompt, generated=meter.usage.generated),
            model=self.profile.model,
        )
        plan.check([profile.name for profile in roster], inputs=parts)
        return plan

    def subtasks(self, plan: Plan, task: Task) -> list[Task]:
        """Return the subtasks of a plan that was made for the task, each with its parts as inputs.

        The same plan and task give the same subtasks, ids included. Raises `InvalidPlan`.
        """
        return plan.tasks(task.model_copy(update={"inputs": self.parts(task)}))

    def parts(self, task: Task) -> list[TaskInput]:
        """Return the parts of the task's inputs, which the steps of a plan pick by name."""
        reads = self.profile.reads or self.profile.options.num_ctx // 2
        return divide(task.inputs, reads)

    def _steps(
        self, task: Task, parts: Sequence[str], staff: Staff, model: ChatModel
    ) -> tuple[list[PlanStep], Literal["model", "fallback"]]:
        question = self._question(task.description, parts, staff)
        tokens = max(question.tokens, self.profile.options.num_predict)
        options = replace(
            self.profile.options, num_predict=tokens, seed=task.id.int % 2**31, temperature=0.0
        )
        request = ChatRequest(self.profile.model, question.messages, options=options)
        try:
            with refusals_counted(request.model):
                found = ask(model, request, question.form, again=_WARMER, explain=question.explain)
        except (UnreadableAnswer, ReplyTruncated, ContextOverflow) as error:
            logger.info("task %s is planned by rules: %s", task.id, error)
            return fallback_steps(task.description, parts, staff), "fallback"
        return found, "model"

    def _question(self, job: str, parts: Sequence[str], staff: Staff) -> PlanQuestion:
        if self.profile.plan_form == "keyed":
            return keyed(job, parts, staff)
        return split_job(job, parts, staff) if parts else outline(job, staff)
