"""The app with one guard of the worker taken away: FAULTS_WITHOUT names it. For the controls."""

from __future__ import annotations

import os

from celery.worker import consumer as celery_consumer

from celery_app.celery import app
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


if WITHOUT == "consumer":
    app.conf.worker_consumer = "celery.worker.consumer:Consumer"
elif WITHOUT == "index":
    # A transport that keeps no index of what is unconfirmed.
    app.conf.broker_transport_options["ack_emulation"] = False
elif WITHOUT == "ending":
    app.steps["worker"].discard(ending.EndingStep)
    app.conf.worker_consumer = EndlessConsumer
else:
    app.conf.worker_consumer = Consumer
