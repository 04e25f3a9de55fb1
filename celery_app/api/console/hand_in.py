"""Forms that hand in a job: at once, or once its plan was looked at.

Invariant: a plan that waits for approval stands in the page alone. What is approved is checked as if somebody
had written it, since somebody could have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Form, Request, UploadFile
from markupsafe import Markup
from pydantic import ValidationError
from starlette.responses import Response

from agents.errors import AgentError
from celery_app.api.asking import Asking
from celery_app.api.console.graph import inline
from celery_app.api.console.rendering import page, see
from celery_app.api.console.works import work_page
from celery_app.api.patience import patiently
from celery_app.celery import agent_manager
from celery_app.local_desk import LocalDesk
from workflows.errors import InvalidPlan, InvalidTask
from workflows.json_text import read_json
from workflows.picture import Box, cut, draw, plain
from workflows.plan import Plan
from workflows.task import Priority, Task
from workflows.task_input import input_of

__all__ = ["approved"]

Words = Annotated[str, Form(max_length=1_000_000)]
Planning = Annotated[Literal["", "yes", "no", "ask"], Form()]
Once = Annotated[str, Form(max_length=100, pattern=r"^[\w-]*$")]
Files = Annotated[list[UploadFile], Form()]

_PLANNED = {"": None, "yes": True, "no": False, "ask": True}


async def hand_in(
    request: Request,
    desk: Asking,
    description: Words = "",
    priority: Annotated[Priority, Form()] = Priority.NORMAL,
    plan: Planning = "",
    files: Files = [],  # noqa: B006 - the framework takes it as it is
    once: Once = "",
) -> Response:
    """Hand in a job, or show its plan first. The same form sent twice gives the same task."""

    def answer() -> Response:
        try:
            task = _task(description, priority, _PLANNED[plan], files, once)
            if plan == "ask":
                return _plan_page(request, desk, task)
            task_id = desk.submit(task)
        except (InvalidTask, AgentError) as error:
            given = {"description": description, "priority": str(priority), "plan": plan}
            return work_page(request, desk, error=str(error), given=given)
        return see(f"/console/tasks/{task_id}", "handed-in")

    return await patiently(answer)


def run_plan(desk: Asking, job: Annotated[str, Form()]) -> Response:
    """Hand in a job with the plan that was approved."""
    return see(f"/console/tasks/{desk.submit(approved(job))}", "handed-in")


def approved(job: str) -> Task:
    """Return the task that a job and its plan are, as a plan's page has sent them.

    Raises:
        InvalidTask: It is none, or the plan has a fault.
    """
    try:
        given: dict[str, Any] = read_json(job)
        plan = Plan.model_validate(given["plan"])
        task = Task.read(given["task"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        words = "what was sent is not the plan of a job: have it planned again"
        raise InvalidTask(words) from error
    agents = [profile.name for profile in agent_manager().profiles]
    try:
        plan.check(agents, inputs=[each.name for each in task.inputs])
        task.subtasks = plan.tasks(task)
    except InvalidPlan as error:
        raise InvalidTask(f"the plan is refused: {error}") from error
    task.plan = None
    return task


def _task(
    description: str,
    priority: Priority,
    plan: bool | None,
    files: Sequence[UploadFile],
    once: str,
) -> Task:
    """Return the task that a form asks for. Raises `InvalidTask`."""
    inputs = [input_of(each.filename, each.file.read()) for each in files if each.filename]
    return Task.read(
        {
            "description": description,
            "priority": priority,
            "plan": plan,
            "inputs": [each.model_dump() for each in inputs],
            "idempotency_key": f"console:{once}" if once else None,
        }
    )


def _plan_page(request: Request, desk: LocalDesk, task: Task) -> Response:
    plan = desk.plan(task)
    price = plan.pop("price")
    job = {"task": task.model_dump(mode="json"), "plan": plan}
    return page(
        request,
        "plan.html",
        task=task,
        plan=plan,
        price=price,
        graph=_picture(Plan.model_validate(plan)),
        job=json.dumps(job, ensure_ascii=False),
    )


def _picture(plan: Plan) -> Markup:
    boxes = {
        str(number): Box(
            "agent",
            (f"{number}. {cut(plain(step.title), 32)}", plain(step.agent)),
            plain(step.description),
        )
        for number, step in enumerate(plan.steps, start=1)
    }
    arrows = {(str(needed), str(number)): "success" for needed, number in plan.graph().edges}
    return inline(draw("Graph of the plan", boxes, arrows))
