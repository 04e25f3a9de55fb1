"""Registered workflows, their triggers, and what those have started.

Invariant: a run and the occurrence that it is for are written by one transaction, once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from celery_app.errors import UnknownTask
from celery_app.postgres.connection import Database
from celery_app.security.vault import Vault
from celery_app.store.execution import Released
from celery_app.store.graphs import insert_graph
from celery_app.store.new_runs import insert_definitions
from celery_app.store.records import NewGraph
from workflows.triggers import WorkflowTrigger
from workflows.workflow import Workflow


@dataclass(frozen=True)
class StoredTrigger:
    """A trigger of a registered workflow.

    Attributes:
        digest: The definition that it starts.
        inside: The workflows inside that: name to digest.
        since: What was due until then is settled.
        error: Why it could not start a run the last time.
    """

    workflow: str
    id: str
    digest: str
    inside: dict[str, str]
    trigger: WorkflowTrigger
    by_hand: bool
    paused: bool
    since: datetime
    error: str | None


@dataclass(frozen=True)
class Registered:
    """What a workflow's triggers start: its definition, those inside it, and whether a file says so."""

    digest: str
    inside: dict[str, str]
    from_file: bool


@dataclass(frozen=True)
class Occurrence:
    """One thing that a trigger waited for, and the run that it starts."""

    trigger: StoredTrigger
    key: str
    run_id: str
    due: datetime | None = None


class TriggerStore:
    """Keeps workflows and their triggers.

    Args:
        database: Where they live.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._vault = database.vault

    def register(
        self,
        workflow: Workflow,
        inside: Mapping[str, Workflow],
        now: datetime,
        *,
        from_file: bool = False,
    ) -> None:
        """Make a definition the one that its triggers start from now on.

        Triggers that are new count from `now`; those that it no longer has are gone, unless a person
        added them.
        """

        def work(connection: Connection) -> None:
            insert_definitions(connection, (workflow, *inside.values()), self._vault)
            connection.execute(
                text(
                    """
                    INSERT INTO workflow (name, digest, inside, from_file)
                    VALUES (:name, :digest, :inside, :from_file)
                    ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, inside = excluded.inside,
                        from_file = excluded.from_file, registered_at = clock_timestamp()
                    """
                ),
                {
                    "name": workflow.name,
                    "digest": workflow.digest,
                    "inside": json.dumps({name: each.digest for name, each in inside.items()}),
                    "from_file": from_file,
                },
            )
            for trigger in workflow.triggers:
                self._add(connection, workflow.name, trigger, now, by_hand=False)
            connection.execute(
                text(
                    "DELETE FROM trigger WHERE workflow = :name AND NOT by_hand AND id <> ALL (:ids)"
                ),
                {"name": workflow.name, "ids": [str(each.id) for each in workflow.triggers]},
            )

        self.database.transaction(work)

    def registered(self) -> dict[str, Registered]:
        """Return the workflows that are registered, by name."""
        rows = self.database.rows("SELECT name, digest, inside, from_file FROM workflow")
        return {row.name: Registered(row.digest, dict(row.inside), row.from_file) for row in rows}

    def forget(self, names: Collection[str]) -> None:
        """Take workflows out, with their triggers; their runs stay."""
        self.database.rows("DELETE FROM workflow WHERE name = ANY (:names)", names=list(names))

    def add(self, workflow: str, trigger: WorkflowTrigger, now: datetime) -> None:
        """Add a trigger by hand; it counts from `now`."""
        self.database.transaction(
            lambda connection: self._add(connection, workflow, trigger, now, by_hand=True)
        )

    def remove(self, workflow: str, trigger_id: str) -> None:
        """Take a trigger away."""
        self.database.rows(
            "DELETE FROM trigger WHERE workflow = :workflow AND id = :id",
            workflow=workflow,
            id=trigger_id,
        )

    def pause(self, workflow: str, trigger_id: str, paused: bool, now: datetime) -> None:
        """Stop a trigger, or let it go on; what was due while it was paused is not made up for."""
        self.database.rows(
            """
            UPDATE trigger SET paused = :paused, since = CASE WHEN paused THEN :now ELSE since END
             WHERE workflow = :workflow AND id = :id AND paused <> :paused
            """,
            workflow=workflow,
            id=trigger_id,
            paused=paused,
            now=now,
        )

    def triggers(
        self, *, workflow: str | None = None, kind: str | None = None, waits: str | None = None
    ) -> list[StoredTrigger]:
        """Return the triggers of a workflow, of a kind, or that wait for something of that name."""
        rows = self.database.rows(
            """
            SELECT t.*, w.digest, w.inside FROM trigger t JOIN workflow w ON w.name = t.workflow
             WHERE (CAST(:workflow AS text) IS NULL OR t.workflow = :workflow)
               AND (CAST(:kind AS text) IS NULL OR t.kind = :kind)
               AND (CAST(:waits AS text) IS NULL OR t.waits = :waits)
             ORDER BY t.workflow, t.id
            """,
            workflow=workflow,
            kind=kind,
            waits=waits,
        )
        return [
            StoredTrigger(
                row.workflow,
                row.id,
                row.digest,
                dict(row.inside),
                self._trigger(row),
                row.by_hand,
                row.paused,
                row.since,
                self._vault.unpack(row.error, "trigger.error", row.workflow, row.id),
            )
            for row in rows
        ]

    def _trigger(self, row: Any) -> WorkflowTrigger:
        plain = self._vault.unpack(row.body, "trigger.body", row.workflow, row.id)
        return WorkflowTrigger.model_validate(plain, by_alias=True, by_name=False)

    def note_error(self, trigger: StoredTrigger, error: str, since: datetime | None) -> None:
        """Keep why a trigger could not start a run; what was due until `since` is given up."""
        self.database.rows(
            """
            UPDATE trigger SET error = :error, since = coalesce(:since, since)
             WHERE workflow = :workflow AND id = :id
            """,
            error=self._vault.pack(error, "trigger.error", trigger.workflow, trigger.id),
            since=since,
            workflow=trigger.workflow,
            id=trigger.id,
        )

    def _add(
        self,
        connection: Connection,
        workflow: str,
        trigger: WorkflowTrigger,
        now: datetime,
        *,
        by_hand: bool,
    ) -> None:
        connection.execute(
            text(
                """
                INSERT INTO trigger (workflow, id, kind, waits, body, by_hand, since)
                VALUES (:workflow, :id, :kind, :waits, :body, :by_hand, :now) ON CONFLICT DO NOTHING
                """
            ),
            {
                "workflow": workflow,
                "id": str(trigger.id),
                "kind": trigger.kind,
                "waits": None if trigger.is_scheduled else getattr(trigger, trigger.kind),
                "body": self._vault.pack(
                    trigger.model_dump(mode="json", by_alias=True, exclude_defaults=True),
                    "trigger.body",
                    workflow,
                    str(trigger.id),
                ),
                "by_hand": by_hand,
                "now": now,
            },
        )

    def start(self, occurrence: Occurrence, graph: NewGraph) -> Released:
        """Start a run for an occurrence, unless somebody has; return what is to be published."""
        return self.database.transaction(
            lambda connection: insert_occurrence(connection, occurrence, graph, self._vault)
        )

    def started(self, workflow: str, trigger_id: str) -> list[Any]:
        """Return what a trigger has started: `key`, `run_id` and `at`, in the order of the keys."""
        return list(
            self.database.rows(
                "SELECT key, run_id, at FROM occurrence WHERE workflow = :workflow AND trigger_id = :id "
                "ORDER BY key",
                workflow=workflow,
                id=trigger_id,
            )
        )

    def find(self, workflow: str, prefix: str) -> StoredTrigger:
        """Return the trigger of a workflow whose id begins so. Raises `UnknownTask` unless one does."""
        found = [each for each in self.triggers(workflow=workflow) if each.id.startswith(prefix)]
        if len(found) != 1:
            raise UnknownTask(
                f"{len(found) or 'no'} triggers of workflow {workflow!r} begin with {prefix!r}: "
                "`ai-agent workflow triggers` shows them"
            )
        return found[0]


def insert_occurrence(
    connection: Connection, occurrence: Occurrence, graph: NewGraph, vault: Vault
) -> Released:
    """Write an occurrence and its run, unless it is there; return what is to be published."""
    trigger = occurrence.trigger
    fresh = connection.execute(
        text(
            """
            INSERT INTO occurrence (workflow, trigger_id, key, run_id)
            VALUES (:workflow, :trigger, :key, :run) ON CONFLICT DO NOTHING RETURNING run_id
            """
        ),
        {
            "workflow": trigger.workflow,
            "trigger": trigger.id,
            "key": occurrence.key,
            "run": occurrence.run_id,
        },
    ).first()
    if occurrence.due is not None:
        connection.execute(
            text(
                """
                UPDATE trigger SET since = GREATEST(since, :due), error = NULL
                 WHERE workflow = :workflow AND id = :id
                """
            ),
            {"due": occurrence.due, "workflow": trigger.workflow, "id": trigger.id},
        )
    return insert_graph(connection, graph, vault) if fresh is not None else {}
