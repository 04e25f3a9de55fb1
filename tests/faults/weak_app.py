"""The app with one guard of the worker taken away: FAULTS_WITHOUT names it. For the controls."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from celery.worker import consumer as celery_consumer

from celery_app import celery
from celery_app.celery import app
from celery_app.store.execution import ExecutionStore, Released, Standing
from celery_app.store.records import Claim
from celery_app.worker import consumer, ending, visibility

__all__ = ["app"]

WITHOUT = os.environ["FAULTS_WITHOUT"]
_STEPS = {"adopt": consumer.Adopt, "keeper": visibility.VisibilityStep}


class Consumer(consumer.Consumer):
    """Our consumer, without one of its steps."""

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = tuple(
            step
            for step in consumer.Consumer.Blueprint.default_steps
            if step is not _STEPS.get(WITHOUT)
        )


class EndlessConsumer(consumer.Consumer):
    """Our consumer, which leaves what runs at its end to Celery."""

    cancel_active_requests = celery_consumer.Consumer.cancel_active_requests


class Unfenced(ExecutionStore):
    """Believes everybody who says that he owns a task."""

    def renew(self, fences: Mapping[str, int], lease: float) -> set[str]:
        return set(fences)

    def finish(self, claim: Claim, state: str, **outcome: Any) -> Released:
        newest = self.database.row("SELECT fence FROM task WHERE id = :id", id=claim.id).fence
        return super().finish(dataclasses.replace(claim, fence=newest), state, **outcome)


class Unclaimed(ExecutionStore):
    """Gives a task to whoever has a message for it."""

    def claim(self, task_id: str, name: str, owner: str, lease: float) -> Claim | Standing | None:
        self.database.rows(
            "UPDATE task SET state = 'queued', due_at = NULL WHERE id = :id", id=task_id
        )
        return super().claim(task_id, name, owner, lease)


if WITHOUT == "consumer":
    app.conf.worker_consumer = "celery.worker.consumer:Consumer"
elif WITHOUT == "index":
    # A transport that keeps no index of what is unconfirmed.
    app.conf.broker_transport_options["ack_emulation"] = False
elif WITHOUT == "ending":
    app.steps["worker"].discard(ending.EndingStep)
    app.conf.worker_consumer = EndlessConsumer
elif WITHOUT == "fence":
    celery.executions = Unfenced(celery.database)
elif WITHOUT == "claim":
    celery.executions = Unclaimed(celery.database)
elif WITHOUT == "patience":
    celery.executions = ExecutionStore(celery.database.impatient())
elif WITHOUT == "gate":
    # Here, since it takes the stores as they are when it is imported.
    from celery_app.worker import gate

    app.steps["consumer"].discard(gate.GateStep)
else:
    app.conf.worker_consumer = Consumer
