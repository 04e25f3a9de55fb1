"""From tasks as they are handed in to the rows of a graph. Pure: nothing is written here.

Invariants
  * Every dependency becomes an edge, also inside a chain: the chain in a message is only the fast way.
  * A container (a task with subtasks) is the sink of its subtasks: it needs each of them to have
    ended, not to have succeeded, and judges that when it collects.
  * The dependencies of a container are those of its first subtasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celery.canvas import Signature

from agents.profile import AgentProfile
from celery_app.queues import DEFAULT_QUEUE, agent_queue
from celery_app.store.records import Claim, NewBudget, NewEdge, NewGraph, NewQuota, NewTask
from celery_app.worker.limits import Limits, budget_of, project_budget
from workflows.canvas import compile_graph
from workflows.graph import TaskGraph
from workflows.state import TaskState
from workflows.task import Task
from workflows.validation import is_complex

#: Given a task without a Celery task of its own: the agent that performs it.
ChooseAgent = Callable[[Task], AgentProfile]

#: Edges and rows of their own hold these.
_NOT_IN_SPEC = {"dependencies", "subtasks"}


def draw(task: Task, choose_agent: ChooseAgent, limits: Limits) -> NewGraph:
    """Return the rows of a task and all its subtasks."""
    drawing = _Drawing(choose_agent, limits, root_id=str(task.id))
    drawing.add(task, position=0, waits_for=[str(dependency) for dependency in task.dependencies])
    return drawing.graph


def draw_subtasks(
    parent: Claim, subtasks: Sequence[Task], choose_agent: ChooseAgent, limits: Limits
) -> NewGraph:
    """Return the rows of subtasks for a parent that is there already."""
    drawing = _Drawing(choose_agent, limits, root_id=parent.root_id)
    above = _Above(parent.spec.get("project"), parent.budgets)
    drawing.add_subtasks(parent.id, subtasks, waits_for=[], above=above)
    return drawing.graph


def draw_in_place(claim: Claim, task: Task, choose_agent: ChooseAgent, limits: Limits) -> NewGraph:
    """Return the row of a task that takes the place of a claimed one."""
    drawing = _Drawing(choose_agent, limits, root_id=claim.root_id)
    above = _Above(claim.spec.get("project"), claim.budgets)
    drawing.add(task, position=0, waits_for=[], parent_id=claim.parent_id, above=above)
    return drawing.graph


def draw_sink(task: Task, name: str, limits: Limits) -> NewGraph:
    """Return the row of a task that is the end of a graph yet to be drawn, and runs `name` then."""
    drawing = _Drawing(_nobody, limits, root_id=str(task.id))
    way = _Way(name, DEFAULT_QUEUE, taken=tuple(limits.taken(task, None)))
    drawing.add(task, position=0, waits_for=[], way=way)
    return drawing.graph


def _nobody(task: Task) -> AgentProfile:
    raise AssertionError(f"task {task.id} is not for an agent")


@dataclass(frozen=True)
class _Above:
    """What a task has from those above it."""

    project: str | None = None
    budgets: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Way:
    """Which Celery task runs a task, on which queue, by which agent, taking from what."""

    name: str
    queue: str
    agent: AgentProfile | None = None
    taken: tuple[tuple[NewQuota, float], ...] = ()


_NOTHING = _Above()


class _Drawing:
    def __init__(self, choose_agent: ChooseAgent, limits: Limits, root_id: str) -> None:
        self.graph = NewGraph()
        self._choose_agent = choose_agent
        self._limits = limits
        self._root_id = root_id
        self._described: set[str] = set()

    def add(
        self,
        task: Task,
        position: int,
        waits_for: list[str],
        parent_id: str | None = None,
        chain: tuple[str, ...] = (),
        above: _Above = _NOTHING,
        way: _Way | None = None,
    ) -> None:
        task_id = str(task.id)
        task, above = self._inherit(task, above)
        way = way or self._way(task)
        if task.subtasks:
            unmet = self.add_subtasks(task_id, task.subtasks, waits_for, above)
        else:
            unmet = len(waits_for)
            self._edges(task_id, waits_for, need="success")
        self._describe(way)
        self.graph.tasks.append(
            NewTask(
                id=task_id,
                root_id=self._root_id,
                parent_id=parent_id,
                position=position,
                name=way.name,
                queue=way.queue,
                agent=way.agent.name if way.agent else None,
                state=TaskState.EXPANDED if task.subtasks else TaskState.PENDING,
                unmet=unmet,
                type=str(task.type),
                priority=task.priority.level,
                chain=chain,
                idempotency_key=task.idempotency_key,
                timeout=task.timeout,
                deadline=task.deadline,
                quotas=tuple(quota.name for quota, _ in way.taken),
                amounts=tuple(amount for _, amount in way.taken),
                budgets=above.budgets,
                level=task.security_requirements.level,
                spec=task.model_dump(mode="json", exclude=_NOT_IN_SPEC, exclude_defaults=True),
            )
        )

    def _inherit(self, task: Task, above: _Above) -> tuple[Task, _Above]:
        """Give a task what those above it have, and its subtasks what it has."""
        budgets = list(above.budgets)
        if task.project is None:
            task = _of_project(task, above.project)
        elif task.project != above.project:
            budgets.append(self._budget(project_budget(task.project)))
        own = budget_of(task)
        if own is not None:
            budgets.append(self._budget(own))
        return task, _Above(task.project, tuple(budgets))

    def _budget(self, budget: NewBudget) -> str:
        self.graph.budgets.append(budget)
        return budget.id

    def _describe(self, way: _Way) -> None:
        for quota, _ in way.taken:
            if quota.name not in self._described:
                self._described.add(quota.name)
                self.graph.quotas.append(quota)

    def add_subtasks(
        self, parent_id: str, subtasks: Sequence[Task], waits_for: list[str], above: _Above
    ) -> int:
        """Add subtasks and the edges into their parent; return how many edges those are."""
        needs = {
            str(task.id): list(dict.fromkeys(map(str, task.dependencies))) for task in subtasks
        }
        graph = TaskGraph(
            {body: [one for one in needed if one in needs] for body, needed in needs.items()}
        )
        ways = {str(task.id): self._way(task, above.project) for task in subtasks}
        # What waits for more than its neighbour inside may not simply follow it.
        apart = [
            body
            for (body, needed), task in zip(needs.items(), subtasks, strict=True)
            if task.subtasks or ways[body].taken or len(graph.dependencies(body)) < len(needed)
        ]
        chains = _chains(graph, joins=apart)
        for position, (body, task) in enumerate(zip(needs, subtasks, strict=True)):
            first = not graph.dependencies(body)
            self.add(
                task,
                position=position,
                waits_for=list(dict.fromkeys(needs[body] + waits_for)) if first else needs[body],
                parent_id=parent_id,
                chain=chains.get(body, ()),
                above=above,
                way=ways[body],
            )
        sinks = graph.sinks
        self._edges(parent_id, sinks, need="always")
        return len(sinks)

    def _way(self, task: Task, project: str | None = None) -> _Way:
        if task.subtasks:
            return _Way("task.collect", DEFAULT_QUEUE)
        task = _of_project(task, project)
        agent: AgentProfile | None = None
        if task.task is not None:
            name, queue = task.task, DEFAULT_QUEUE
            if task.agent is not None:
                # It asks the agent's model, and waits where that agent's work does.
                agent = self._choose_agent(task)
                queue = agent_queue(agent.type)
        elif is_complex(task):
            agent = self._choose_agent(Task(description="plan", agent="planner"))
            name, queue = "task.plan", agent_queue(agent.type)
        else:
            agent = self._choose_agent(task)
            name, queue = "task.run", agent_queue(agent.type)
        return _Way(name, queue, agent, tuple(self._limits.taken(task, agent)))

    def _edges(self, body: str, needed: Sequence[str], need: str) -> None:
        self.graph.edges.extend(
            NewEdge(task=task, body=body, position=position, need=need)
            for position, task in enumerate(needed)
        )


def _of_project(task: Task, project: str | None) -> Task:
    if project is None or task.project is not None:
        return task
    return task.model_copy(update={"project": project})


def _chains(graph: TaskGraph[str], joins: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For the head of each chain, the ids that follow it in its message."""
    canvas = compile_graph(graph, _unsent, joins=joins)
    return {segment[0]: segment[1:] for segment in canvas.segments}


def _unsent(node: str) -> Signature:
    # Only the shape of the canvas is stored; signatures are made from rows when they are sent.
    return Signature("task.run", immutable=True, options={"task_id": node})
