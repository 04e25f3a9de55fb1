"""`TaskManager`: hand in, follow and end work. The core is synchronous; its async verbs are thin.

Invariants
  * A task is checked completely before anything of it is written, and written whole or not at all.
  * It is durable when `submit` returns; should the broker fail at that moment, recovery sends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery_app.celery import (
    agent_manager,
    choose_agent,
    graphs,
    guard,
    queue,
    store,
    task_names,
    tool_catalogue,
)
from celery_app.errors import UnknownTask
from celery_app.orchestrator.standing import why_not_running
from celery_app.queues import PriorityQueue
from celery_app.security.guard import Guard
from celery_app.security.policy import request
from celery_app.store.budgets import BudgetStore
from celery_app.store.graphs import GraphStore
from celery_app.store.journal import JournalStore
from celery_app.store.records import TaskRecord
from celery_app.store.runs import RunStore
from celery_app.store.tasks import TaskStore
from celery_app.store.tool_calls import ToolCallStore
from celery_app.worker.binding import limits
from celery_app.worker.blueprint import draw
from workflows.errors import IllegalTransition, UnknownDependency
from workflows.state import StateManager, TaskState
from workflows.task import SecurityLevel, Task
from workflows.validation import check_task


class TaskView(Mapping[UUID, TaskRecord]):
    """All tasks that were handed in, as a mapping over Postgres: nothing is kept in memory."""

    def __init__(self, tasks: TaskStore) -> None:
        self._tasks = tasks

    def __getitem__(self, task_id: UUID) -> TaskRecord:
        try:
            return self._tasks.get(str(task_id))
        except UnknownTask as unknown:
            raise KeyError(task_id) from unknown

    def __iter__(self) -> Iterator[UUID]:
        return (UUID(record.id) for record in self._tasks.newest(limit=1_000_000))

    def __len__(self) -> int:
        return self._tasks.count_roots()


class TaskManager:
    """Takes tasks in, breaks them down, and knows how they stand.

    Attributes:
        tasks: Every task handed in, by id.
        store: Where they live.
        task_queue: The queues that ready tasks are sent to.
        state_manager: Which state may follow which.
        permissions: Says whether whoever asks may; by default the user of this process.
    """

    def __init__(
        self,
        tasks: TaskStore = store,
        writes: GraphStore = graphs,
        task_queue: PriorityQueue = queue,
        permissions: Guard | None = None,
    ) -> None:
        self.store = tasks
        self._graphs = writes
        self._budgets = BudgetStore(tasks.database)
        self._runs = RunStore(tasks.database)
        self.tasks = TaskView(tasks)
        self.task_queue = task_queue
        self.state_manager = StateManager()
        self.permissions = permissions or guard()

    async def submit_task(self, task: Task) -> UUID:
        """Hand in a task; see `submit`."""
        return await asyncio.to_thread(self.submit, task)

    def submit(self, task: Task) -> UUID:
        """Check a task, store it with its subtasks, and queue what can start.

        A complex task without subtasks goes to the planner first. Handing in a task twice, under one
        id or one idempotency key, gives the same task.

        Returns:
            The id of the task, which is also its Celery id.

        Raises:
            InvalidTask: The task is wrong; nothing was stored.
            PermissionDenied: An agent, a capability or a Celery task in it is not for whoever asks, or
                they may not read a task whose result it needs.
            ServiceUnavailable: Postgres or the broker does not answer; nothing was stored. (If the
                broker goes away after that question, the task is stored and recovery sends it.)
        """
        known = self._known(task)
        if known is not None:
            return known
        self._check(task)
        self._require(task)
        self.task_queue.ensure_reachable()
        graph = draw(task, choose_agent, limits())
        self.task_queue.publish(self._graphs.add(graph.requested_by(self.permissions.name)))
        if task.idempotency_key is None:
            return task.id
        # Somebody else may have come first with it.
        return self._known(task) or task.id

    def get(self, task_id: UUID | str) -> TaskRecord:
        """Return a task as it stands.

        Raises:
            UnknownTask: There is none with this id.
            PermissionDenied: It is not for whoever asks; so with all that follows here.
        """
        self.require("task.read", task_id)
        return self.store.get(str(task_id))

    def tree(self, task_id: UUID | str) -> dict[str, Any]:
        """Return a task's public document, its plan, model and tool calls, all descendants under ``tasks``.

        ``reason`` says why it is not running, ``budgets`` what it may use up, ``requested_by`` who asked.

        Raises:
            UnknownTask: There is none with this id.
        """
        self.require("task.read", task_id)
        root, *below = self.store.tree(str(task_id))
        there = self.store.papers_of(root.id)
        calls = JournalStore(self.store.database).calls(root.id) if "calls" in there else []
        tools = ToolCallStore(self.store.database).calls(root.id) if "tool_calls" in there else []
        return {
            **root.as_json(),
            "requested_by": root.requested_by,
            "reason": why_not_running(self.store.database, root),
            "budgets": [asdict(budget) for budget in self._budgets.of(root.budgets)],
            "plan": self.store.plan_of(root.id) if "plan" in there else None,
            "calls": calls,
            "tool_calls": tools,
            "tasks": [record.as_json() for record in below],
        }

    def cancel(self, task_id: UUID | str) -> None:
        """Cancel a task and everything below it; running members stop at once.

        Raises:
            UnknownTask: There is none with this id.
        """
        self.require("task.cancel", task_id)
        self.store.get(str(task_id))
        self.task_queue.publish(self._graphs.cancel(str(task_id)))

    def retry(self, task_id: UUID | str) -> None:
        """Try again what failed or was cancelled at or below a task; what succeeded is kept.

        Raises:
            UnknownTask: There is none with this id.
            IllegalTransition: Nothing in it failed or was cancelled, or it is part of a workflow's run.
        """
        self.require("task.retry", task_id)
        task = self.store.get(str(task_id))
        self.state_manager.check(task.state, TaskState.QUEUED, by_user=True)
        if self._runs.is_run(task.root_id):
            raise IllegalTransition(
                f"task {task_id} belongs to a run of a workflow: "
                f"`ai-agent workflow resume {task.root_id}` goes on with it"
            )
        self.task_queue.publish(self._graphs.retry(str(task_id)))

    def newest(self, limit: int = 20, state: str | None = None) -> list[TaskRecord]:
        """Return those of the tasks handed in last that whoever asks may see."""
        return self.store.newest(limit, state, self.levels())

    def levels(self) -> list[SecurityLevel]:
        """Return the levels whose tasks whoever asks may see. Raises `PermissionDenied` if there is none."""
        levels = [
            level
            for level in SecurityLevel
            if self.permissions.decide(request("task.read", "task:*", (), level)).allowed
        ]
        if not levels:
            self.permissions.require("task.read", "task:*")
        return levels

    def require(self, action: str, task_id: UUID | str) -> None:
        """Make sure that whoever asks may do this to a task, given how closely its run is kept.

        Raises:
            PermissionDenied: They may not.
        """
        level = self.store.level(str(task_id))
        self.permissions.require(action, f"task:{task_id}", level=level)

    def _known(self, task: Task) -> UUID | None:
        if task.idempotency_key is not None:
            found = self.store.by_key(task.idempotency_key)
            if found is not None:
                return UUID(found)
        return task.id if self.store.states([str(task.id)]) else None

    def _check(self, task: Task) -> None:
        check_task(
            task,
            now=datetime.now(UTC),
            capabilities=agent_manager().capabilities,
            task_names=task_names(),
            tools=tool_catalogue().names,
            known=self._outside(task),
        )
        limits().check(task)

    def _require(self, task: Task) -> None:
        """Ask for every member: for its agent and its capabilities, or for its Celery task.

        Results of other tasks flow into it, so those are asked for as if they were read.
        """
        members = list(task.walk())
        needed_outside = {each for member in members for each in member.dependencies}
        for other in sorted(needed_outside - {member.id for member in members}):
            self.require("task.read", other)
        for member in members:
            level = member.security_requirements.level
            needed = member.required_capabilities
            if member.task is not None:
                wanted = [f"celery:{member.task}"]
                if member.agent is not None:
                    wanted.append(f"agent:{choose_agent(member).name}")
            elif member.subtasks:
                wanted = []
            else:
                agents = [f"agent:{choose_agent(member).name}"]
                wanted = [*agents, *(f"capability:{one}" for one in sorted(needed))]
            for resource in wanted:
                self.permissions.require("task.submit", resource, needed, level)

    def _outside(self, task: Task) -> set[UUID]:
        """Return the tasks it depends on that were handed in before.

        Raises:
            UnknownDependency: One of them was not.
        """
        members = list(task.walk())
        inside = {member.id for member in members}
        wanted = {needed for member in members for needed in member.dependencies} - inside
        if not wanted:
            return set()
        known = {UUID(found) for found in self.store.states([str(needed) for needed in wanted])}
        if missing := wanted - known:
            raise UnknownDependency(
                f"dependency {min(missing)} is not a known task: "
                "hand it in first, or make it part of the same graph"
            )
        return known
