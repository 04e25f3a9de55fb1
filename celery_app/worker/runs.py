"""From workflows to the rows of their runs, and from steps to tasks. Pure: nothing is written here.

Invariants
  * A run is a task, and each of its steps is a subtask of it. The edges between them are met however a
    step ends: whether the next one runs is decided when it is looked at.
  * The ids of steps, items and rounds follow from the run, so that drawing again names the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid5

from kombu.utils.json import dumps

from celery_app.queues import DEFAULT_QUEUE
from celery_app.store.records import Claim, NewEdge, NewGraph, NewQuota, NewRun, NewTask, Start
from celery_app.store.runs import Run, share_of, step_task_id
from celery_app.worker.blueprint import ChooseAgent, draw_in_place, draw_sink, draw_subtasks
from celery_app.worker.limits import Limits
from workflows.conditions import fill
from workflows.state import TaskState
from workflows.step import Work, WorkflowStep
from workflows.task import Priority, Task
from workflows.workflow import Workflow

#: What a run passes on to its steps, and they to what they become.
_PASSED_ON = ("project", "priority")


def draw_run(
    task: Task,
    workflow: Workflow,
    inputs: Mapping[str, Any],
    limits: Limits,
    *,
    inside: Mapping[str, Workflow] | None = None,
    context: Mapping[str, Any] | None = None,
    start: Start | None = None,
    forked_from: str | None = None,
    reused: Mapping[str, str] | None = None,
) -> NewGraph:
    """Return the rows of a new run.

    Args:
        task: The run as a task: its id, its project, and what it may use up.
        workflow: The definition that it keeps.
        inputs: Its inputs, checked.
        limits: What all tasks share.
        inside: The workflows that it runs as steps, and those that they run.
        context: What its caller gave.
        start: What started it.
        forked_from: The run whose results it reuses.
        reused: Steps that are over already, each with the task whose result it takes over.
    """
    inside = inside or {}
    graph = draw_sink(task, "workflow.finish", limits)
    [sink] = graph.tasks
    reused = reused or {}
    to_do = len(workflow.steps) - len(reused)
    state = TaskState.EXPANDED if to_do else TaskState.PENDING
    graph.tasks[0] = replace(sink, type="workflow", state=state, unmet=to_do)
    run = NewRun(
        id=sink.id,
        workflow=workflow.name,
        digest=workflow.digest,
        inputs=dict(inputs),
        context=dict(context or inputs),
        definitions=(workflow, *inside.values()),
        inside={name: each.digest for name, each in inside.items()},
        start=start,
        forked_from=forked_from,
    )
    graph.runs.append(run)
    _add_steps(graph, run, sink.root_id, workflow, sink.spec, sink.budgets)
    return _reusing(graph, run, reused) if reused else graph


def _reusing(graph: NewGraph, run: NewRun, reused: Mapping[str, str]) -> NewGraph:
    """Take out what steps that are over have nothing to do with any more: edges, and waiting for them."""
    over = {step_task_id(run.id, 0, step): old for step, old in reused.items()}
    graph.copies.extend(over.items())
    graph.edges = [e for e in graph.edges if e.task not in over and e.body not in over]
    unmet = Counter(edge.body for edge in graph.edges)
    graph.tasks = [
        replace(row, state=TaskState.SUCCEEDED, unmet=0)
        if row.id in over
        else replace(row, unmet=unmet[row.id])
        for row in graph.tasks
    ]
    return graph


def draw_run_inside(claim: Claim, workflow: Workflow, inputs: Mapping[str, Any]) -> NewGraph:
    """Return the rows of a run that a claimed task of another run becomes."""
    run = NewRun(claim.id, workflow.name, workflow.digest, dict(inputs), generation=claim.tries)
    graph = NewGraph(runs=[run])
    _add_steps(graph, run, claim.root_id, workflow, claim.spec, claim.budgets)
    return graph


def _add_steps(
    graph: NewGraph,
    run: NewRun,
    root_id: str,
    workflow: Workflow,
    above: Mapping[str, Any],
    budgets: tuple[str, ...],
) -> None:
    passed_on = {key: above[key] for key in _PASSED_ON if key in above}
    level = Priority(passed_on.get("priority", Priority.NORMAL)).level
    waits = workflow.waits
    ids = {step.id: step_task_id(run.id, run.generation, step.id) for step in workflow.steps}
    for position, step in enumerate(workflow.steps):
        graph.tasks.append(
            NewTask(
                id=ids[step.id],
                root_id=root_id,
                parent_id=run.id,
                position=position,
                name="workflow.step",
                queue=DEFAULT_QUEUE,
                state=TaskState.PENDING,
                unmet=len(waits[step.id]),
                type="step",
                priority=level,
                budgets=budgets,
                step=step.id,
                spec={**passed_on, "step": step.id, "description": step.description or step.id},
            )
        )
        graph.edges.extend(_edges(ids[step.id], [ids[before] for before in waits[step.id]]))
    graph.edges.extend(_edges(run.id, list(ids.values())))


def _edges(body: str, before: Sequence[str]) -> Iterator[NewEdge]:
    for position, task in enumerate(before):
        yield NewEdge(task, body, position, need="always")


class StepTasks:
    """Makes tasks of what a step does.

    Args:
        run: The run as it stands.
        claim: The step, or the run where it compensates.
        choose_agent: Who performs a task.
        limits: What all tasks share.
    """

    def __init__(self, run: Run, claim: Claim, choose_agent: ChooseAgent, limits: Limits) -> None:
        self._run = run
        self._claim = claim
        self._choose_agent = choose_agent
        self._limits = limits

    def task(self, work: Work, names: Mapping[str, Any], name: str, task_id: str) -> Task:
        """Return what is to be done, with every expression filled in.

        Raises:
            InvalidExpression: One of them cannot be evaluated.
            InvalidTask: What came of them is no task.
        """
        step = name
        fields: dict[str, Any] = {
            "id": task_id,
            "priority": self._claim.spec.get("priority", Priority.NORMAL),
            "retry": getattr(work, "retry", {}),
            "timeout": getattr(work, "timeout", None),
            "metadata": {"title": name},
            "plan": False,
        }
        if isinstance(work, WorkflowStep):
            fields["output"] = work.output
        given = fill(work.with_, names, step=step)
        if work.task is not None:
            fields |= {
                "description": name,
                "task": work.task,
                "args": fill(work.args, names, step=step),
                "kwargs": given,
            }
        elif work.workflow is not None:
            fields |= {
                "description": f"workflow {work.workflow}",
                "task": "workflow.call",
                "kwargs": {"workflow": work.workflow, "inputs": given},
            }
        else:
            plan = getattr(work, "plan", None)
            fields |= {
                "description": _text(fill(plan or work.prompt, names, step=step)),
                "agent": work.agent,
                "required_capabilities": work.capabilities,
                "inputs": [{"name": key, "text": _text(text)} for key, text in given.items()],
                "plan": plan is not None,
                "security_requirements": {"allowed_tools": work.tools, "network": work.network},
            }
        return Task.read(fields)

    def in_place(self, task: Task) -> NewGraph:
        """Return the row of the task that the step becomes."""
        return draw_in_place(self._claim, task, self._choose_agent, self._limits)

    def below(self, tasks: Mapping[int, Task], max_parallel: int | None = None) -> NewGraph:
        """Return the rows of items or rounds, by their number."""
        graph = draw_subtasks(self._claim, list(tasks.values()), self._choose_agent, self._limits)
        numbers = {str(task.id): number for number, task in tasks.items()}
        share = NewQuota(share_of(self._claim.id), capacity=max_parallel)
        for place, row in enumerate(graph.tasks):
            graph.tasks[place] = replace(row, position=numbers[row.id])
            if max_parallel is not None:
                graph.tasks[place] = replace(
                    graph.tasks[place],
                    quotas=(*row.quotas, share.name),
                    amounts=(*row.amounts, 1.0),
                )
        if max_parallel is not None:
            graph.quotas.append(share)
        return graph

    def one_after_the_other(self, tasks: Sequence[Task]) -> NewGraph:
        """Return the rows of tasks each of which follows the one before, however that ended."""
        graph = self.below(dict(enumerate(tasks)))
        for before, after in pairwise(tasks):
            graph.edges.extend(_edges(str(after.id), [str(before.id)]))
        graph.tasks[1:] = [replace(row, unmet=row.unmet + 1) for row in graph.tasks[1:]]
        return graph


def part_id(claim: Claim, number: int) -> str:
    """Return the id of an item or round of a step."""
    return str(uuid5(UUID(claim.id), f"{claim.tries}/{number}"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value, indent=2)
