"""`PlannerAgent`: a job becomes a plan, always.

The model is asked up to four times, each time warmer; what it says must pass the gate. After that
the plan comes from rules. Either way the plan says where it came from.

Invariant: a plan with `source="model"` is the model's own answer, read but not repaired; and every
plan that leaves here was checked against the roster and the parts of the task's inputs.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid5

from agents.agent import Agent
from agents.answers import ask, refusals_counted
from agents.context import estimate_tokens
from agents.errors import ContextOverflow, ReplyTruncated, UnreadableAnswer
from agents.fallback import fallback_steps
from agents.meter import Meter
from agents.model import ChatModel, ChatRequest
from agents.overheard import Overheard
from agents.parts import divide
from agents.plan_forms import PlanQuestion, keyed, outline, split_job
from agents.profile import AgentProfile
from agents.vocabulary import Staff
from workflows.errors import InvalidProject
from workflows.estimates import Estimator
from workflows.plan import UNMEASURED, Plan, PlanStep, PlanTokens
from workflows.problem import nearest
from workflows.project import Project, ProjectGoal, ProjectSpec
from workflows.project_plan import GoalPlan, ProjectPlan, StepEstimate
from workflows.task import Task, TaskInput

__all__ = ["PlannerAgent", "goal_task", "staff_of"]

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
        on_begun: Callable[[Plan], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Plan:
        """Return a checked plan for the job.

        Its steps name parts of the task's inputs; `subtasks` turns them into tasks. `on_begun` is
        given the beginning of the plan each time the model has said another step of it, which the plan
        that is returned need not have: that one may be another try. Raises `AgentError` only where no
        model answers; an answer that is of no use makes a fallback plan.
        """
        parts = [part.name for part in self.parts(task)]
        staff = Staff(roster)
        question = self._question(task.description, parts, staff)
        if on_begun is not None:
            model = self._overheard(model, question, task, on_begun)
        meter = Meter(model, on_text, cancel)
        steps, source = self._steps(task, parts, staff, question, meter)
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

    def create_project_plan(
        self,
        project: Project,
        inputs: Mapping[str, str],
        *,
        roster: Sequence[AgentProfile],
        model: ChatModel,
        estimator: Estimator | None = None,
        on_goal: Callable[[str, Plan], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> ProjectPlan:
        """Return a checked plan for a project: one plan for each goal, in the order of their needs.

        A goal that is planned already, from just the same, keeps its plan, and no model is asked.

        Args:
            project: The project, with the plan that it has so far.
            inputs: The texts of its inputs, by name.
            roster: The agents that may be planned for, of which the project may name some.
            model: What is asked.
            estimator: Knows what steps take.
            on_goal: Is told of each goal that has just been planned.
            cancel: Ends the call of the model.

        Raises:
            AgentError: No model answers.
            InvalidProject: An agent that the project names is not in the roster.
        """
        staff = staff_of(project, roster)
        hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in inputs.items()}
        known = project.plan.goals if project.plan else {}
        found: dict[str, GoalPlan] = {}
        for name in project.order():
            goal = project.goal(name)
            digest = project.digest(goal, hashes)
            if name in known and known[name].digest == digest:
                found[name] = known[name]
                continue
            task = goal_task(project, goal, uuid5(project.id, f"{name}:{digest}"), inputs)
            plan = self.plan_task_breakdown(task, roster=staff, model=model, cancel=cancel)
            estimates = self._estimates(plan, task, goal.estimate, estimator or Estimator())
            found[name] = GoalPlan(digest=digest, plan=plan, estimates=estimates)
            if on_goal is not None:
                on_goal(name, plan)
        needs = {goal.name: list(goal.needs) for goal in project.goals}
        made = ProjectPlan(goals=found, needs=needs, made_at=datetime.now(UTC))
        made.tasks()
        return made

    def subtasks(self, plan: Plan, task: Task) -> list[Task]:
        """Return the subtasks of a plan that was made for the task, each with its parts as inputs.

        The same plan and task give the same subtasks, ids included. Raises `InvalidPlan`.
        """
        return plan.tasks(task.model_copy(update={"inputs": self.parts(task)}))

    def parts(self, task: Task) -> list[TaskInput]:
        """Return the parts of the task's inputs, which the steps of a plan pick by name."""
        reads = self.profile.reads or self.profile.options.num_ctx // 2
        return divide(task.inputs, reads)

    def _estimates(
        self, plan: Plan, task: Task, seconds: float | None, estimator: Estimator
    ) -> list[StepEstimate]:
        """Return what each step is expected to take; `seconds` are those of the whole, if given."""
        sizes = {part.name: estimate_tokens(part.text) for part in self.parts(task)}
        said = None if seconds is None else seconds / len(plan.steps)
        found = []
        for step in plan.steps:
            read = sum(sizes[name] for name in dict.fromkeys(step.input_names))
            results = UNMEASURED.generated * len(step.needs)
            size = estimate_tokens(step.description) + read + results
            each = estimator.estimate(step.agent, size, said)
            found.append(
                StepEstimate(size=size, said=said, seconds=each.seconds, spread=each.spread)
            )
        return found

    def _overheard(
        self,
        model: ChatModel,
        question: PlanQuestion,
        task: Task,
        on_begun: Callable[[Plan], None],
    ) -> ChatModel:
        def tell(steps: list[PlanStep]) -> None:
            on_begun(Plan(job=task.description, steps=steps, source="model", tries=0))

        return Overheard(model, question.begun, tell)

    def _steps(
        self,
        task: Task,
        parts: Sequence[str],
        staff: Staff,
        question: PlanQuestion,
        model: ChatModel,
    ) -> tuple[list[PlanStep], Literal["model", "fallback"]]:
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


def goal_task(
    spec: ProjectSpec, goal: ProjectGoal, task_id: UUID, inputs: Mapping[str, str]
) -> Task:
    """Return a goal as a task that its plan is made for, with its inputs by name."""
    return Task(
        id=task_id,
        description=goal.description,
        inputs=[TaskInput(name=name, text=inputs[name]) for name in spec.inputs_of(goal)],
        output=goal.output,
        plan=True,
    )


def staff_of(spec: ProjectSpec, roster: Sequence[AgentProfile]) -> Sequence[AgentProfile]:
    """Return the agents of a roster that a project may be planned for.

    Raises:
        InvalidProject: One that it names is not there.
    """
    wanted = spec.resources.agents
    if not wanted:
        return roster
    found = [profile for profile in roster if profile.name in wanted]
    missing = sorted(set(wanted) - {profile.name for profile in found})
    if missing:
        known = [profile.name for profile in roster]
        raise InvalidProject(
            f"project {spec.name} names the agent {missing[0]!r}: {nearest(missing[0], known)}"
        )
    return found
