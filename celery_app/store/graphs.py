"""Graphs as they are handed in, grow, and are changed by people.

Invariants
  * A graph is written whole or not at all.
  * A task that depends on one that is there already locks that row first: the dependency cannot end
    between the look and the edge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, replace
from typing import Any

from sqlalchemy import Connection, text

from celery_app.errors import LeaseLost
from celery_app.postgres.connection import Database, insert_rows
from celery_app.security.vault import Vault
from celery_app.store.execution import Released, released
from celery_app.store.new_runs import copy_outcomes, insert_runs
from celery_app.store.records import Claim, NewGraph, NewTask
from workflows.state import TaskState

_TASK_COLUMNS = (
    "id", "root_id", "parent_id", "position", "name", "type", "agent", "queue", "priority", "unmet",
    "chain", "idempotency_key", "timeout", "deadline", "quotas", "amounts", "budgets", "step",
    "requested_by", "level", "state", "spec",
)  # fmt: skip
_EDGE_COLUMNS = ("task_id", "body_id", "position", "need")


class GraphStore:
    """Writes graphs.

    Args:
        database: Where they live.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def add(self, graph: NewGraph) -> Released:
        """Write a graph in one transaction; return what is to be published.

        Edges may come from tasks that are there already, whatever their state.
        """
        return self.database.transaction(
            lambda connection: insert_graph(connection, graph, self._vault)
        )

    def begin(self, claim: Claim, graph: NewGraph) -> Released:
        """Write the first subtasks of a task whose plan is still being made; they may start at once.

        Args:
            claim: The task, which goes on.
            graph: They, some of which may be there already. Edges into the task are left for `expand`.

        Raises:
            LeaseLost: Somebody else owns the task; nothing was written.
        """
        inside = replace(graph, edges=[edge for edge in graph.edges if edge.body != claim.id])

        def work(connection: Connection) -> Released:
            ours = connection.execute(
                text(
                    "SELECT 1 FROM task WHERE id = :id AND fence = :fence AND state = 'running' "
                    "FOR NO KEY UPDATE"
                ),
                {"id": claim.id, "fence": claim.fence},
            ).first()
            if ours is None:
                raise LeaseLost(f"task {claim.id} is no longer ours to plan; nothing was written")
            return insert_graph(connection, inside, self._vault, begun=True)

        return self.database.transaction(work)

    def expand(
        self,
        claim: Claim,
        graph: NewGraph,
        *,
        phase: str,
        plan: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
    ) -> Released:
        """Replace a claimed task by its subtasks, in one fenced transaction.

        Args:
            claim: The task.
            graph: Its subtasks.
            phase: What the task does next, once the edges into it are met.
            plan: The plan that they were made of, to be kept. What had begun and is not in it stops.
            spec: What the task is from now on; by default what it was.

        Raises:
            LeaseLost: Somebody else owns the task; nothing was written.
        """

        def work(connection: Connection) -> Released:
            tokens = plan["tokens"] if plan else {"prompt": 0, "generated": 0}
            changed = connection.execute(
                text(
                    """
                    UPDATE task SET state = 'expanded', name = :phase, unmet = :unmet,
                           spec = coalesce(:spec, spec), owner = NULL, lease_until = NULL,
                           -- What it took to plan is free again; a key is for all of its work.
                           quotas = ARRAY(SELECT q FROM unnest(quotas) AS q WHERE q LIKE 'key:%'),
                           amounts = ARRAY(SELECT 1 FROM unnest(quotas) AS q WHERE q LIKE 'key:%'),
                           expires_at = CASE WHEN step IS NOT NULL OR name = 'workflow.call'
                                             THEN started_at + make_interval(secs => timeout) END,
                           prompt_tokens = prompt_tokens + :prompt,
                           generated_tokens = generated_tokens + :generated
                     WHERE id = :id AND fence = :fence AND state = 'running' RETURNING id
                    """
                ),
                {
                    "id": claim.id,
                    "fence": claim.fence,
                    "phase": phase,
                    "spec": None if spec is None else self._vault.pack(spec, "task.spec", claim.id),
                    "unmet": sum(edge.body == claim.id for edge in graph.edges),
                    **tokens,
                },
            ).first()
            if changed is None:
                raise LeaseLost(f"task {claim.id} is no longer ours to expand; nothing was written")
            _note(connection, [(claim.id, claim.root_id, "expanded")])
            if plan is None:
                return insert_graph(connection, graph, self._vault)
            _insert_plan(connection, claim.id, plan, self._vault)
            free = _drop_strays(connection, claim.id, graph)
            return insert_graph(connection, graph, self._vault, begun=True, free=free)

        return self.database.transaction(work)

    def become(self, claim: Claim, graph: NewGraph) -> Released:
        """Replace a claimed task by another one of the same id, which has its turn as any other.

        Args:
            claim: The task.
            graph: The other one, alone, with its limits.

        Raises:
            LeaseLost: Somebody else owns the task; nothing was written.
        """
        [task] = graph.tasks
        if graph.quotas:
            self.database.transaction(lambda connection: _describe_limits(connection, graph))
        rows = self.database.rows(
            """
            SELECT * FROM become_task(:id, :fence, :name, :queue, :type, :agent, :timeout, :quotas, :amounts,
                                      :spec, :backlog)
            """,
            id=claim.id,
            fence=claim.fence,
            name=task.name,
            queue=task.queue,
            type=task.type,
            agent=task.agent,
            timeout=task.timeout,
            quotas=list(task.quotas),
            amounts=list(task.amounts),
            spec=self._vault.pack(task.spec, "task.spec", claim.id),
            backlog=claim.backlog,
        )
        return released(rows)

    def cancel(self, task_id: str) -> Released:
        """Cancel a task and everything below it; return what became ready because of it."""
        return released(self.database.rows("SELECT * FROM cancel_task(:id)", id=task_id))

    def retry(self, task_id: str) -> Released:
        """Try again what failed or was cancelled at or below a task, and what was skipped for it.

        Results that are there stay. Returns what is to be published now.
        """
        return released(self.database.rows("SELECT * FROM retry_task(:id)", id=task_id))


def insert_graph(
    connection: Connection,
    graph: NewGraph,
    vault: Vault,
    *,
    begun: bool = False,
    free: Iterable[str] = (),
) -> Released:
    """Write a graph; return what is to be published once that is committed.

    Args:
        connection: Of a transaction.
        graph: The graph.
        vault: Seals its payloads.
        begun: Whether some of its tasks may be there already, in any state.
        free: Queues that have room, besides those of its tasks.
    """
    tasks, edges = graph.tasks, graph.edges
    if not tasks:
        return {}
    _describe_limits(connection, graph)
    insert_rows(
        connection,
        "task",
        _TASK_COLUMNS,
        [_task_row(task, vault) for task in tasks],
        "(id) DO NOTHING",
    )
    insert_runs(connection, graph.runs, vault)
    copy_outcomes(connection, graph.copies, vault)
    if edges:
        rows = [(edge.task, edge.body, edge.position, edge.need) for edge in edges]
        insert_rows(connection, "edge", _EDGE_COLUMNS, rows, "DO NOTHING")
    ids = [task.id for task in tasks]
    sources = {edge.task for edge in edges}
    _settle_what_is_over(connection, sources if begun else sources.difference(ids))
    if expanded := [task.id for task in tasks if task.state == TaskState.EXPANDED]:
        connection.execute(
            text(
                "UPDATE task SET started_at = clock_timestamp() "
                "WHERE id = ANY (:ids) AND state = 'expanded' AND started_at IS NULL"
            ),
            {"ids": expanded},
        )
    connection.execute(
        text(
            """
            WITH ready AS (
                UPDATE task SET state = 'queued', queued_at = clock_timestamp()
                 WHERE id = ANY (:ids) AND unmet = 0 AND state = 'pending' RETURNING id, root_id
            )
            INSERT INTO event (task_id, root_id, kind) SELECT id, root_id, 'queued' FROM ready
            """
        ),
        {"ids": ids},
    )
    return _release(connection, {task.queue for task in tasks} | set(free))


def _release(connection: Connection, queues: Iterable[str]) -> Released:
    return released(
        connection.execute(
            text("SELECT * FROM release_ready(:queues)"), {"queues": sorted(set(queues))}
        )
    )


def _task_row(task: NewTask, vault: Vault) -> list[Any]:
    row = [getattr(task, name) for name in _TASK_COLUMNS]
    row = [list(value) if isinstance(value, tuple) else value for value in row]
    return [*row[:-2], str(task.state), vault.pack(task.spec, "task.spec", task.id)]


def _describe_limits(connection: Connection, graph: NewGraph) -> None:
    """Write what has changed of the quotas; a budget that is there already stays as it is."""
    if graph.quotas:
        connection.execute(
            text(
                """
                INSERT INTO quota AS q (name, capacity, rate)
                SELECT n.name, n.capacity, n.rate
                  FROM unnest(CAST(:names AS text[]), CAST(:capacities AS double precision[]),
                              CAST(:rates AS double precision[])) AS n (name, capacity, rate)
                 WHERE NOT EXISTS (SELECT 1 FROM quota o WHERE o.name = n.name
                                      AND o.capacity IS NOT DISTINCT FROM n.capacity
                                      AND o.rate IS NOT DISTINCT FROM n.rate)
                 ORDER BY n.name
                ON CONFLICT (name) DO UPDATE SET capacity = excluded.capacity, rate = excluded.rate
                """
            ),
            {
                "names": [quota.name for quota in graph.quotas],
                "capacities": [quota.capacity for quota in graph.quotas],
                "rates": [quota.rate for quota in graph.quotas],
            },
        )
    if graph.budgets:
        rows = [astuple(budget) for budget in graph.budgets]
        insert_rows(connection, "budget", ("id", "tokens", "calls", "seconds"), rows, "DO NOTHING")


def _drop_strays(connection: Connection, parent_id: str, graph: NewGraph) -> list[str]:
    """Stop the subtasks that are not in the graph; return the queues that have room because of it."""
    rows = connection.execute(
        text("SELECT drop_steps(:parent, :plan) AS queue"),
        {"parent": parent_id, "plan": [task.id for task in graph.tasks]},
    )
    return [row.queue for row in rows]


def _settle_what_is_over(connection: Connection, sources: set[str]) -> None:
    """Count edges that come from tasks that had ended before the edges were written."""
    if not sources:
        return
    rows = connection.execute(
        text("SELECT id, state FROM task WHERE id = ANY (:ids) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": sorted(sources)},
    )
    ended: dict[str, list[str]] = {}
    for row in rows:
        ended.setdefault(row.state, []).append(row.id)
    for state in sorted({state for state in ended if TaskState(state).is_final}):
        connection.execute(
            text("SELECT settle(:ids, :state, false)"), {"ids": ended[state], "state": state}
        )


def _insert_plan(connection: Connection, task_id: str, plan: dict[str, Any], vault: Vault) -> None:
    connection.execute(
        text(
            "INSERT INTO plan (task_id, version, source, tries, body) "
            "VALUES (:id, :version, :source, :tries, :body) ON CONFLICT DO NOTHING"
        ),
        {
            "id": task_id,
            "version": plan["version"],
            "source": plan["source"],
            "tries": plan["tries"],
            "body": vault.pack(plan, "plan.body", task_id, plan["version"]),
        },
    )


def _note(connection: Connection, events: Iterable[tuple[str, str, str]]) -> None:
    connection.execute(
        text("INSERT INTO event (task_id, root_id, kind) VALUES (:task_id, :root_id, :kind)"),
        [{"task_id": task, "root_id": root, "kind": kind} for task, root, kind in events],
    )
