"""What makes a task acceptable, and what makes it complex.

Invariant: a task that passed `check_task` can be stored, compiled and run whole: its ids are its
own, its subtasks wait only for each other, and none of them may do more than its parent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from workflows.errors import CycleError, InvalidTask, UnknownCapability, UnknownDependency
from workflows.graph import TaskGraph
from workflows.problem import nearest
from workflows.task import MAX_NESTING, Capability, SecurityLevel, Task

__all__ = ["MAX_TASKS", "check_task", "is_complex", "task_graph"]

MAX_TASKS = 100_000
"""How many tasks one graph may have, all together."""

_VERBS = (
    "analy[sz]e|assess|brainstorm|build|calculate|check|code|collect|compare|compile|compute|"
    "create|decide|describe|design|develop|draft|edit|estimate|evaluate|explain|extract|find|"
    "gather|identify|implement|investigate|list|outline|plan|prepare|propose|publish|read|"
    "recommend|research|review|revise|rewrite|search|select|sketch|study|suggest|"
    "summari[sz]e|test|translate|verify|write"
)
_LEAD = r"(?:and|then|finally|also|afterwards|next|please)\b[\s,]*"
# A verb asks for something only where a clause begins: "write a review" asks for one thing.
_REQUEST = re.compile(
    rf"(?:^|[.;:,!?\n]|\b(?={_LEAD}))[\s*•-]*(?:{_LEAD})*({_VERBS})\b", re.IGNORECASE
)
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
_LEVELS = list(SecurityLevel)


def is_complex(task: Task) -> bool:
    """Say whether the task must be broken into subtasks (or has been already).

    A Celery task never is. Otherwise `plan` decides; where it is None, a task without a named agent
    is complex when it has inputs, or when its description lists or asks for several things. That
    reading knows English verbs; in other languages a list or `plan=True` says it.
    """
    if task.task is not None:
        return False
    if task.subtasks:
        return True
    if task.plan is not None:
        return task.plan
    return task.agent is None and (bool(task.inputs) or _asks_for_several(task.description))


def check_task(
    task: Task,
    *,
    now: datetime,
    capabilities: Collection[Capability] | None,
    task_names: Collection[str] | None,
    tools: Collection[str] | None = None,
    known: Collection[UUID] = (),
) -> None:
    """Raise a precise `InvalidTask` unless the task and everything below it can be accepted.

    `now` is an aware time. `capabilities` are those of all agents, `task_names` all
    registered Celery tasks and `tools` all that agents may have; None leaves that check out. `known` are
    tasks that were handed in before, on which subtasks may depend too; the root's own dependencies are
    the caller's to look up.
    """
    seen: set[UUID] = set()
    stack = [(task, 0)]
    while stack:
        current, depth = stack.pop()
        if depth > MAX_NESTING:
            raise InvalidTask(
                f"task {current.id} is nested {depth} deep and at most {MAX_NESTING} is allowed: "
                "flatten the subtasks"
            )
        # Also what ends this walk when a task was put among its own descendants.
        if current.id in seen:
            raise InvalidTask(f"task {current.id} is there twice: give every task its own id")
        seen.add(current.id)
        if len(seen) > MAX_TASKS:
            raise InvalidTask(
                f"there are more than {MAX_TASKS:,} tasks in one graph: hand in several graphs, "
                "or use a workflow with foreach"
            )
        _check_deadline(current, now)
        _check_work(current, task_names)
        _check_key(current)
        _check_capabilities(current, capabilities)
        _check_tools(current, tools)
        if current.id in current.dependencies:
            raise CycleError(f"task {current.id} depends on itself: drop that dependency")
        if current.subtasks:
            task_graph(current.subtasks, known=known)
        for subtask in current.subtasks:
            _check_subtask(subtask, current)
        stack.extend((subtask, depth + 1) for subtask in current.subtasks)


def task_graph(tasks: Sequence[Task], *, known: Collection[UUID] = ()) -> TaskGraph[UUID]:
    """Return the graph of `tasks` by id; dependencies in `known` live elsewhere and are left out.

    Raises `InvalidTask` for an id used twice, `UnknownDependency` and `CycleError`.
    """
    elsewhere = frozenset(known)
    needs: dict[UUID, list[UUID]] = {}
    for task in tasks:
        if task.id in needs:
            raise InvalidTask(f"task {task.id} is there twice: give every task its own id")
        needs[task.id] = [needed for needed in task.dependencies if needed not in elsewhere]
    for task_id, needed in needs.items():
        if missing := [other for other in needed if other not in needs]:
            raise UnknownDependency(
                f"task {task_id} depends on {missing[0]}, which is not among the tasks it was "
                "given with: add that task or drop the dependency"
            )
    return TaskGraph(needs)


def _check_deadline(task: Task, now: datetime) -> None:
    if task.deadline is not None and task.deadline <= now:
        raise InvalidTask(
            f"the deadline {task.deadline.isoformat()} of task {task.id} has passed "
            f"(it is {now.isoformat()}): give a later one or none"
        )


def _check_work(task: Task, task_names: Collection[str] | None) -> None:
    name = task.task
    if name is None:
        return
    if task.subtasks or task.plan:
        raise InvalidTask(
            f"the Celery task {name!r} cannot be planned or have subtasks: "
            "drop those, or describe the work instead of naming it"
        )
    if task_names is not None and name not in task_names:
        advice = nearest(name, task_names, "import its module in the settings")
        raise InvalidTask(f"no Celery task is registered as {name!r}: {advice}")


def _check_key(task: Task) -> None:
    if task.concurrency_key is not None and task.subtasks:
        raise InvalidTask(
            f"task {task.id} has subtasks and the concurrency key {task.concurrency_key!r}: "
            "give the key to those subtasks that need it"
        )


def _check_capabilities(task: Task, capabilities: Collection[Capability] | None) -> None:
    if capabilities is None:
        return
    if missing := sorted(task.required_capabilities.difference(capabilities)):
        known = ", ".join(sorted(capabilities)) or "nothing"
        raise UnknownCapability(
            f"no agent is capable of {', '.join(missing)}: the agents know {known}; "
            "require one of those or add an agent"
        )


def _check_tools(task: Task, tools: Collection[str] | None) -> None:
    if tools is None:
        return
    for tool in sorted(task.security_requirements.allowed_tools):
        if tool not in tools:
            raise InvalidTask(f"allowed_tools names {tool!r}, no tool: {nearest(tool, tools)}")


def _check_subtask(subtask: Task, parent: Task) -> None:
    if subtask.parent_task not in (None, parent.id):
        raise InvalidTask(
            f"subtask {subtask.id} names {subtask.parent_task} as its parent but stands under "
            f"{parent.id}: leave parent_task out"
        )
    if excess := [*_more_rights(subtask, parent), *_more_resources(subtask, parent)]:
        raise InvalidTask(
            f"subtask {subtask.id} asks for more than its parent has ({'; '.join(excess)}): "
            "ask for less or give the parent more"
        )


def _more_rights(subtask: Task, parent: Task) -> list[str]:
    asked, given = subtask.security_requirements, parent.security_requirements
    excess = [f"tool {tool}" for tool in sorted(asked.allowed_tools - given.allowed_tools)]
    if asked.network and not given.network:
        excess.append("network")
    if _LEVELS.index(asked.level) > _LEVELS.index(given.level):
        excess.append(f"level {asked.level} above {given.level}")
    return excess


def _more_resources(subtask: Task, parent: Task) -> list[str]:
    asked, given = subtask.resource_requirements, parent.resource_requirements
    pairs = [
        ("cpu", asked.cpu, given.cpu),
        ("memory", asked.memory_bytes, given.memory_bytes),
        ("tokens", asked.tokens, given.tokens),
        ("model_calls", asked.model_calls, given.model_calls),
        ("seconds", asked.seconds, given.seconds),
    ]
    return [
        f"{name} {wanted} above {limit}"
        for name, wanted, limit in pairs
        if wanted is not None and limit is not None and wanted > limit
    ]


def _asks_for_several(description: str) -> bool:
    verbs = {verb.lower() for verb in _REQUEST.findall(description)}
    return len(verbs) > 1 or len(_ITEM.findall(description)) > 1
