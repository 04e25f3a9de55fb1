"""The runs that triggers start.

Invariant: which run an occurrence starts, and with what, follows from the occurrence. So everybody who
meets the same one draws the same run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import Connection, text

from celery_app.celery import database, runs, triggers
from celery_app.store.execution import Released, released
from celery_app.store.records import Claim, Message, NewGraph, Start
from celery_app.store.triggers import Occurrence, StoredTrigger, insert_occurrence
from celery_app.worker.binding import limits
from celery_app.worker.runs import draw_run
from workflows.conditions import fill
from workflows.errors import InvalidExpression, InvalidInputs
from workflows.task import Task

logger = logging.getLogger(__name__)


def occurrence(trigger: StoredTrigger, key: str, due: datetime | None = None) -> Occurrence:
    """Return what happens when a trigger meets what it waits for; `key` tells it from any other."""
    name = f"ai-agent:occurrence:{trigger.workflow}/{trigger.id}/{key}"
    return Occurrence(trigger, key, str(uuid5(NAMESPACE_URL, name)), due)


def draw_triggered(met: Occurrence, now: datetime, event: Any = None) -> NewGraph:
    """Return the rows of the run that an occurrence starts.

    Raises:
        InvalidExpression: The inputs that the trigger gives cannot be evaluated.
        InvalidInputs: They do not fit.
    """
    stored = met.trigger
    workflow = runs.definition(stored.digest)
    known = {
        "id": met.run_id,
        "workflow": workflow.name,
        "started_at": now.isoformat(),
        "due": None if met.due is None else met.due.isoformat(),
        "trigger": stored.trigger.kind,
        "event": event,
    }
    context = fill(stored.trigger.with_, {"run": known})
    return draw_run(
        Task(id=met.run_id, description=f"workflow {workflow.name}"),
        workflow,
        workflow.inputs_from(context),
        limits(),
        inside={name: runs.definition(digest) for name, digest in stored.inside.items()},
        context=context,
        start=Start(stored.trigger.kind, met.due, event),
    ).requested_by(f"trigger:{stored.workflow}")


def finish_and_start(
    claim: Claim,
    outputs: Any,
    followers: list[tuple[Occurrence, NewGraph]],
    tokens: tuple[int, int],
) -> Released:
    """End a run well and start those that wait for that, in one fenced transaction.

    Raises:
        LeaseLost: Somebody else owns the run; nothing was written.
    """

    def work(connection: Connection) -> Released:
        rows = connection.execute(
            text(
                "SELECT * FROM finish_task("
                ":id, :fence, 'succeeded', :result, NULL, :prompt, :generated, NULL)"
            ),
            {
                "id": claim.id,
                "fence": claim.fence,
                "result": database.vault.pack(outputs, "task.result", claim.id),
                "prompt": tokens[0],
                "generated": tokens[1],
            },
        )
        found: dict[str, Sequence[Message]] = dict(released(rows))
        for met, graph in followers:
            found.update(insert_occurrence(connection, met, graph, database.vault))
        return found

    return database.transaction(work)


def followers_of(
    workflow: str, run_id: str, outputs: Any, now: datetime
) -> list[tuple[Occurrence, NewGraph]]:
    """Return the runs that start when a run of a workflow has succeeded.

    A trigger whose inputs do not fit is noted, and left out.
    """
    found = []
    for trigger in triggers.triggers(kind="after", waits=workflow):
        if trigger.paused:
            continue
        met = occurrence(trigger, run_id)
        event = {"run": run_id, "workflow": workflow, "outputs": outputs}
        graph = draw_or_note(met, now, event)
        if graph is not None:
            found.append((met, graph))
    return found


def draw_or_note(met: Occurrence, now: datetime, event: Any = None) -> NewGraph | None:
    """Return the run of an occurrence; if it cannot start, keep the reason with the trigger."""
    try:
        return draw_triggered(met, now, event)
    except (InvalidExpression, InvalidInputs) as error:
        logger.warning("workflow %s is not started: %s", met.trigger.workflow, error)
        triggers.note_error(met.trigger, str(error), met.due)
        return None
