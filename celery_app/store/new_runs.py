"""Runs of workflows as they are written: with their definitions, and with what they take over.

Invariant: a definition is written once and never changed; its hash is its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, text

from celery_app.postgres.connection import insert_rows
from celery_app.security.vault import Vault
from celery_app.store.records import NewRun, Start
from workflows.workflow import Workflow

__all__ = ["copy_outcomes", "insert_definitions", "insert_runs"]


def copy_outcomes(connection: Connection, copies: Iterable[tuple[str, str]], vault: Vault) -> None:
    """Give tasks that were just written the outcomes of others: (new, old)."""
    for new, old in copies:
        row = connection.execute(
            text("SELECT spec, result FROM task WHERE id = :old"), {"old": old}
        ).one()
        moved = {
            column: None
            if value is None
            else vault.seal(vault.open(value, f"task.{column}", old), f"task.{column}", new)
            for column, value in (("spec", row.spec), ("result", row.result))
        }
        connection.execute(
            text(
                """
                WITH taken AS (
                    UPDATE task n
                       SET state = o.state, result = :result, skipped_for = o.skipped_for, name = o.name,
                           agent = o.agent, spec = :spec, started_at = o.started_at,
                           finished_at = o.finished_at, reason = 'reused from run ' || o.parent_id
                      FROM task o WHERE n.id = :new AND o.id = :old RETURNING n.id, n.root_id
                )
                INSERT INTO event (task_id, root_id, kind) SELECT id, root_id, 'reused' FROM taken
                """
            ),
            {"new": new, "old": old, **moved},
        )


def insert_definitions(connection: Connection, workflows: Iterable[Workflow], vault: Vault) -> None:
    """Keep definitions by their hashes, those that are not there yet."""
    known = {each.digest: each for each in workflows}
    rows = [
        (digest, each.name, vault.pack(each.plain(), "definition.body", digest))
        for digest, each in sorted(known.items())
    ]
    if rows:
        insert_rows(connection, "definition", ("digest", "name", "body"), rows, "DO NOTHING")


def insert_runs(connection: Connection, runs: Iterable[NewRun], vault: Vault) -> None:
    """Write runs, with the definitions that they keep."""
    runs = list(runs)
    insert_definitions(connection, (each for run in runs for each in run.definitions), vault)
    for run in runs:
        start = run.start or Start()
        connection.execute(
            text(
                """
                INSERT INTO run (id, workflow, digest, generation, inside, context, inputs, trigger, due,
                                 event, forked_from)
                VALUES (:id, :workflow, :digest, :generation, :inside, :context, :inputs, :trigger, :due,
                        :event, :forked_from)
                -- Only a run inside a run is begun again; whoever starts the same run twice changes nothing.
                ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, inputs = excluded.inputs,
                                               context = excluded.context
                 WHERE run.generation < excluded.generation
                """
            ),
            {
                "id": run.id,
                "workflow": run.workflow,
                "digest": run.digest,
                "generation": run.generation,
                "inside": json.dumps(run.inside),
                "context": vault.pack(run.context, "run.context", run.id),
                "inputs": vault.pack(run.inputs, "run.inputs", run.id),
                "trigger": start.trigger,
                "due": start.due,
                "event": None
                if start.event is None
                else vault.pack(start.event, "run.event", run.id),
                "forked_from": run.forked_from,
            },
        )
