"""From tasks as they are handed in to the rows of a graph. Pure: nothing is written here.

Invariants
  * Every dependency becomes an edge, also inside a chain: the chain in a message is only the fast way.
  * A container (a task with subtasks) is the sink of its subtasks: it needs each of them to have
    ended, not to have succeeded, and judges that when it collects.
  * The dependencies of a container are those of its first subtasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from celery.canvas import Signature

from celery_app.queues import DEFAULT_QUEUE, agent_queue
from celery_app.store.records import NewEdge, NewTask
from workflows.canvas import compile_graph
from workflows.graph import TaskGraph
from workflows.state import TaskState
from workflows.task import Task
from workflows.validation import is_complex

#: Given a task without a Celery task of its own: (name, type) of the agent that performs it.
ChooseAgent = Callable[[Task], tuple[str, str]]

#: Edges and rows of their own hold these.
_NOT_IN_SPEC = {"dependencies", "subtasks"}


@dataclass
class Blueprint:
    """The rows and edges of one graph."""

    tasks: list[NewTask] = field(default_factory=list)
    edges: list[NewEdge] = field(default_factory=list)


def draw(task: Task, choose_agent: ChooseAgent) -> Blueprint:
    """Return the rows of a task and all its subtasks."""
    drawing = _Drawing(choose_agent, root_id=str(task.id))
    drawing.add(task, position=0, waits_for=[str(dependency) for dependency in task.dependencies])
    return drawing.blueprint


def draw_subtasks(
    parent_id: str, root_id: str, subtasks: Sequence[Task], choose_agent: ChooseAgent
) -> Blueprint:
    """Return the rows of subtasks for a parent that is there already."""
    drawing = _Drawing(choose_agent, root_id=root_id)
    drawing.add_subtasks(parent_id, subtasks, waits_for=[])
    return drawing.blueprint


class _Drawing:
    def __init__(self, choose_agent: ChooseAgent, root_id: str) -> None:
        self.blueprint = Blueprint()
        self._choose_agent = choose_agent
        self._root_id = root_id

    def add(
        self,
        task: Task,
        position: int,
        waits_for: list[str],
        parent_id: str | None = None,
        chain: tuple[str, ...] = (),
    ) -> None:
        if task.subtasks:
            sinks = self.add_subtasks(str(task.id), task.subtasks, waits_for)
            way: dict[str, Any] = {
                "name": "task.collect",
                "queue": DEFAULT_QUEUE,
                "state": TaskState.EXPANDED,
                "unmet": sinks,
            }
        else:
            way = {**self._way(task), "state": TaskState.PENDING, "unmet": len(waits_for)}
            self._edges(str(task.id), waits_for, need="success")
        self.blueprint.tasks.append(
            NewTask(
                id=str(task.id),
                root_id=self._root_id,
                parent_id=parent_id,
                position=position,
                type=str(task.type),
                priority=task.priority.level,
                chain=chain,
                idempotency_key=task.idempotency_key,
                timeout=task.timeout,
                deadline=task.deadline,
                spec=task.model_dump(mode="json", exclude=_NOT_IN_SPEC, exclude_defaults=True),
                **way,
            )
        )

    def add_subtasks(self, parent_id: str, subtasks: Sequence[Task], waits_for: list[str]) -> int:
        """Add subtasks and the edges into their parent; return how many edges those are."""
        inside = {subtask.id for subtask in subtasks}
        graph = TaskGraph(
            {task.id: [d for d in task.dependencies if d in inside] for task in subtasks}
        )
        # What waits for more than its neighbour inside may not simply follow it.
        apart = [t.id for t in subtasks if t.subtasks or not inside.issuperset(t.dependencies)]
        chains = _chains(graph, joins=apart)
        for position, task in enumerate(subtasks):
            needed = [str(dependency) for dependency in task.dependencies]
            first = not graph.dependencies(task.id)
            self.add(
                task,
                position=position,
                waits_for=list(dict.fromkeys(needed + waits_for if first else needed)),
                parent_id=parent_id,
                chain=chains.get(task.id, ()),
            )
        sinks = [str(sink) for sink in graph.sinks]
        self._edges(parent_id, sinks, need="always")
        return len(sinks)

    def _way(self, task: Task) -> dict[str, Any]:
        """Which Celery task runs it, on which queue, by which agent."""
        if task.task is not None:
            return {"name": task.task, "queue": DEFAULT_QUEUE}
        if is_complex(task):
            return {"name": "task.plan", "queue": agent_queue("planner"), "agent": "planner"}
        name, agent_type = self._choose_agent(task)
        return {"name": "task.run", "queue": agent_queue(agent_type), "agent": name}

    def _edges(self, body: str, needed: Sequence[str], need: str) -> None:
        self.blueprint.edges.extend(
            NewEdge(task=task, body=body, position=position, need=need)
            for position, task in enumerate(needed)
        )


def _chains(graph: TaskGraph[UUID], joins: Sequence[UUID]) -> dict[UUID, tuple[str, ...]]:
    """For the head of each chain, the ids that follow it in its message."""
    canvas = compile_graph(graph, _unsent, joins=joins)
    return {segment[0]: tuple(str(node) for node in segment[1:]) for segment in canvas.segments}


def _unsent(node: UUID) -> Signature:
    # Only the shape of the canvas is stored; signatures are made from rows when they are sent.
    return Signature("task.run", immutable=True, options={"task_id": str(node)})
