"""What a definition of one's own asks for: the rights to all that its steps do.

Invariant: who may run a workflow may run it as it is filed. Whoever brings another definition, under
whatever name, needs the rights that they would need to hand its steps in as tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from celery_app.celery import choose_agent
from celery_app.security.guard import Guard
from workflows.step import Work, WorkflowStep
from workflows.task import Task
from workflows.workflow import Workflow

__all__ = ["require_steps"]


def require_steps(guard: Guard, workflow: Workflow, filed: Mapping[UUID, Workflow]) -> None:
    """Make sure that whoever asks may do what the steps do, unless the workflow is one of the files.

    Raises:
        PermissionDenied: One of the steps is not for them.
    """
    known = filed.get(workflow.id)
    if known is not None and known.digest == workflow.digest:
        return
    for step in workflow.steps:
        for work in (step, *([step.compensate] if step.compensate else [])):
            for action, resource in _asked(work):
                guard.require(action, resource, work.capabilities)


def _asked(work: Work) -> Iterator[tuple[str, str]]:
    for kind in work.kinds:
        if kind == "task":
            yield "task.submit", f"celery:{work.task}"
        elif kind == "workflow":
            yield "workflow.run", f"workflow:{work.workflow}"
        elif kind == "agent":
            yield "task.submit", f"agent:{_agent(work)}"
            yield from (("task.submit", f"capability:{each}") for each in work.capabilities)
    if isinstance(work, WorkflowStep) and work.plan is not None:
        yield "task.submit", "agent:planner"


def _agent(work: Work) -> str:
    task = Task(description="step", agent=work.agent, required_capabilities=set(work.capabilities))
    return choose_agent(task).name
