"""The Celery tasks of this system that steps of a graph are made of.

Wire names are fixed: ``task.run`` (an agent performs a task), ``task.plan`` (a planner replaces a
task by subtasks), ``task.collect`` (the subtasks' results become their parent's).
"""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task

from agents.answers import paths_told_to
from agents.model import Usage
from celery_app.celery import agent_manager, choose_agent, database, graphs, store
from celery_app.crash_points import crash_point
from celery_app.errors import ServiceUnavailable, TaskFailed
from celery_app.store.journal import JournalStore
from celery_app.store.records import UNPLANNED, Claim, NewGraph, TaskRecord
from celery_app.worker.binding import chat_model, limits
from celery_app.worker.blueprint import draw_subtasks
from celery_app.worker.execution import Execution, this_execution
from celery_app.worker.journal import JournalledModel
from celery_app.worker.permissions import allowed_agents, require_run
from celery_app.worker.tools import text_of, title_of, toolbox_of
from workflows.plan import Plan
from workflows.state import TaskState
from workflows.task import Task, TaskInput

logger = logging.getLogger(__name__)


def _task(claim: Claim) -> Task:
    return Task.model_validate({**claim.spec, "id": claim.id})


def _model(execution: Execution) -> JournalledModel:
    return JournalledModel(chat_model(), JournalStore(database), execution.lease)


def _tokens(usage: Usage) -> tuple[int, int]:
    return usage.prompt, usage.generated


@shared_task(name="task.run")
def run(**_: Any) -> Any:
    """Let the chosen agent do the task, with its inputs and the results of what it needed."""
    execution = this_execution()
    claim = execution.claim
    task = _task(claim)
    agent = agent_manager().get_agent(claim.agent or "writer")
    require_run(task, agent.profile.name)
    model = _model(execution)
    with paths_told_to(model.judged):
        answer = agent.perform(
            task,
            task.inputs,
            [_as_input(record) for record in store.inputs_of(claim.id)],
            model=model,
            cancel=execution.lease.ended,
            tries=claim.tries,
            toolbox=toolbox_of(task, agent.profile, execution.lease),
        )
    execution.tokens = _tokens(answer.usage)
    return answer.value


def _as_input(record: TaskRecord) -> TaskInput:
    return TaskInput(name=title_of(record), text=text_of(record))


@shared_task(name="task.plan")
def plan(**_: Any) -> None:
    """Let the planner break the task up; its subtasks take its place until they are collected.

    The plan, the subtasks and their edges are one fenced transaction; their ids follow from the
    task and the plan, so a repetition makes the same ones. A speculative planner's subtasks are written
    before that, each as soon as it has been said, unless the last one has to give a certain output:
    which one that is shows at the end.
    """
    execution = this_execution()
    claim = execution.claim
    task = _task(claim)
    planner = agent_manager().planner
    require_run(task, planner.profile.name)
    model = _model(execution)

    def drawn(plan: Plan) -> NewGraph:
        return draw_subtasks(claim, planner.subtasks(plan, task), choose_agent, limits())

    def begin(plan: Plan) -> None:
        try:
            execution.publish(graphs.begin(claim, drawn(plan)))
        except ServiceUnavailable:
            logger.info("the first steps of task %s wait for the whole plan", claim.id)

    with paths_told_to(model.judged):
        made = planner.plan_task_breakdown(
            task,
            roster=allowed_agents(task, claim.root_id, agent_manager().profiles),
            model=model,
            on_begun=begin if planner.profile.speculative and task.output is None else None,
            cancel=execution.lease.ended,
        )
    execution.delegated = graphs.expand(
        claim, drawn(made), phase="task.collect", plan=made.model_dump(mode="json")
    )
    crash_point("after-expand")


@shared_task(name="task.collect")
def collect(**_: Any) -> Any:
    """Make a parent's result from its subtasks' results.

    Raises:
        TaskFailed: A subtask did not succeed; the message names the first that failed.
    """
    execution = this_execution()
    parent = store.get(execution.claim.id)
    made = store.plan_of(parent.id)
    children = store.children(parent.id)
    execution.tokens = _tokens_to_add(parent, made, children)
    children = [child for child in children if child.skipped_for != UNPLANNED]
    _refuse_failures(children)
    if made is not None:
        return _last_word(children)
    return {child.id: child.result for child in children}


def _tokens_to_add(
    parent: TaskRecord, made: dict[str, Any] | None, children: list[TaskRecord]
) -> tuple[int, int]:
    """What a parent's count lacks of its plan and its subtasks; collected twice, counted once."""
    planned = made["tokens"] if made else {"prompt": 0, "generated": 0}
    prompt = planned["prompt"] + sum(child.prompt_tokens for child in children)
    generated = planned["generated"] + sum(child.generated_tokens for child in children)
    return prompt - parent.prompt_tokens, generated - parent.generated_tokens


def _refuse_failures(children: list[TaskRecord]) -> None:
    unsuccessful = [child for child in children if child.state != TaskState.SUCCEEDED]
    if not unsuccessful:
        return
    order = [TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED]
    first = min(unsuccessful, key=lambda child: order.index(child.state))
    told = first.told_error() or {}
    raise TaskFailed(
        f"{len(unsuccessful)} of {len(children)} subtasks did not succeed; "
        f"{first.id} {first.state}: {told.get('message', '')}"
    )


def _last_word(children: list[TaskRecord]) -> Any:
    """The results of the subtasks that no other one needs: one alone as it is, several by title."""
    needed = {dependency for child in children for dependency in child.dependencies}
    last = [child for child in children if child.id not in needed]
    if len(last) == 1:
        return last[0].result
    return "\n\n".join(f"## {_as_input(child).name}\n\n{child.result}" for child in last)
