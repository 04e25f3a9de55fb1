"""`Triggers`: start workflows when their time has come, or when something has happened.

Invariants
  * Who asks does not matter, nor how often: each occurrence starts one run.
  * A trigger that cannot start its run holds up no other one.
"""

from __future__ import annotations

import graphlib
import hmac
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from celery_app.celery import guard, queue, settings, triggers
from celery_app.errors import ConfigurationError, UnknownTask
from celery_app.orchestrator.asking import require_steps
from celery_app.orchestrator.workflow_files import WorkflowFiles
from celery_app.security.guard import Guard
from celery_app.store.triggers import Registered, StoredTrigger
from celery_app.worker.triggered import draw_or_note, occurrence
from workflows.errors import InvalidInputs, InvalidWorkflow, WorkflowError
from workflows.inside import workflows_inside
from workflows.problem import Problem, shown
from workflows.storable import json_fault, text_fault
from workflows.triggers import WorkflowTrigger, due, next_time
from workflows.workflow import Workflow

logger = logging.getLogger(__name__)

#: How old the signature of a webhook may be, in seconds.
_SIGNATURE_SECONDS = 300
# Strictly one form: another spelling of the same signature would be another call.
_SIGNATURE = re.compile(r"t=([1-9][0-9]{0,11}),v1=([0-9a-f]{64})")
#: Bytes of the largest body of a webhook's call.
LONGEST_BODY = 1_000_000


def _now() -> datetime:
    return datetime.now(UTC)


class Triggers:
    """Registers workflows and starts them.

    Args:
        files: The workflow files, if they are to be registered.
        clock: What time it is.
        permissions: Says whether whoever asks may; by default the user of this process. What beat does
            by itself, and what carries a signature, is not asked for.
    """

    def __init__(
        self,
        files: WorkflowFiles | None = None,
        clock: Callable[[], datetime] = _now,
        permissions: Guard | None = None,
    ) -> None:
        self._files = files
        self._clock = clock
        self._permissions = permissions or guard()

    def register(self, workflow: Workflow, find: Callable[[str], Workflow]) -> None:
        """Make a definition the one that its triggers start from now on; runs keep theirs.

        Args:
            workflow: The definition.
            find: Gives the workflows inside it by name.

        Raises:
            WorkflowError: It contains itself, or would start itself again and again.
        """
        self._require("workflow.change", workflow.name)
        require_steps(self._permissions, workflow, self._files or {})
        inside = workflows_inside(workflow, find)
        refuse_circle(workflow, triggers.triggers(kind="after"))
        triggers.register(workflow, inside, self._clock())

    def refresh(self) -> None:
        """Register the workflow files that have changed, and forget those that are gone."""
        assert self._files is not None, "there are files to look at"
        registered = triggers.registered()
        for workflow in self._files.readable():
            try:
                inside = workflows_inside(workflow, self._files.named)
                digests = {name: each.digest for name, each in inside.items()}
                if registered.get(workflow.name) != Registered(workflow.digest, digests, True):
                    refuse_circle(workflow, triggers.triggers(kind="after"))
                    triggers.register(workflow, inside, self._clock(), from_file=True)
            except (WorkflowError, InvalidWorkflow) as error:
                logger.warning("workflow %s is not registered: %s", workflow.name, error)
        here = set(self._files.names)
        if gone := [
            name for name, each in registered.items() if each.from_file and name not in here
        ]:
            triggers.forget(gone)

    def start_due(self) -> datetime | None:
        """Start what is due now; return when something is due next."""
        now = self._clock()
        upcoming = []
        for stored in triggers.triggers():
            if stored.paused or not stored.trigger.is_scheduled:
                continue
            for moment in due(stored.trigger, stored.since, now):
                self._start(stored, moment.astimezone(UTC).isoformat(), moment)
            if (following := next_time(stored.trigger, now)) is not None:
                upcoming.append(following)
        return min(upcoming, default=None)

    def emit(self, event: str, payload: Any = None, key: str | None = None) -> list[str]:
        """Tell that an event has happened; start every workflow that waits for it.

        Args:
            event: Its name.
            payload: What is known of it: `run.event` in the workflow.
            key: Telling of an event twice under one key starts each workflow once.

        Returns:
            The ids of the runs.
        """
        self._permissions.require("event.emit", f"event:{event}")
        return self._happened("event", event, payload, key or str(uuid4()))

    def webhook(self, name: str, body: bytes, payload: Any, signature: str) -> list[str]:
        """Take a signed call; start every workflow that waits for it, once for each call.

        Args:
            name: The webhook.
            body: What was sent, as it came.
            payload: The same, read.
            signature: `t=SECONDS,v1=HEX`: the time, and the HMAC-SHA256 of `SECONDS.BODY`.

        Raises:
            InvalidInputs: The signature is wrong, or too old.
            UnknownTask: There is no such webhook.
        """
        sealed = check_signature(name, body, signature, self._clock())
        return self._happened("webhook", name, payload, sealed)

    def listed(self, workflow: str | None = None, count: int = 3) -> list[dict[str, Any]]:
        """Return all triggers, or those of a workflow, with the next times of those that have any."""
        self._require("workflow.read", workflow or "*")
        return [self._shown(each, count) for each in triggers.triggers(workflow=workflow)]

    def add(self, workflow: str, said: Mapping[str, Any]) -> WorkflowTrigger:
        """Add a trigger, as a file would have it, to a registered workflow.

        Raises:
            InvalidWorkflow: Something is wrong with it.
            UnknownTask: No such workflow is registered.
        """
        self._require("workflow.change", workflow)
        try:
            trigger = WorkflowTrigger.model_validate(said, by_alias=True, by_name=False)
        except ValidationError as error:
            words = "; ".join(
                fault["msg"].removeprefix("Value error, ") for fault in error.errors()
            )
            raise InvalidWorkflow([Problem(f"trigger of {workflow}", 1, "", words)]) from error
        if workflow not in triggers.registered():
            raise UnknownTask(
                f"no workflow {workflow!r} is registered: beat does that with its file"
            )
        triggers.add(workflow, trigger, self._clock())
        return trigger

    def remove(self, workflow: str, trigger_id: str) -> None:
        """Take a trigger away. Raises `UnknownTask`."""
        self._require("workflow.change", workflow)
        triggers.remove(workflow, triggers.find(workflow, trigger_id).id)

    def pause(self, workflow: str, trigger_id: str) -> None:
        """Stop a trigger until it is resumed. Raises `UnknownTask`."""
        self._require("workflow.change", workflow)
        triggers.pause(workflow, triggers.find(workflow, trigger_id).id, True, self._clock())

    def resume(self, workflow: str, trigger_id: str) -> None:
        """Let a paused trigger go on, from now. Raises `UnknownTask`."""
        self._require("workflow.change", workflow)
        triggers.pause(workflow, triggers.find(workflow, trigger_id).id, False, self._clock())

    def _require(self, action: str, workflow: str) -> None:
        self._permissions.require(action, f"workflow:{workflow}")

    def _happened(self, kind: str, name: str, payload: Any, key: str) -> list[str]:
        for what, fault in (
            ("name", text_fault(name)),
            ("key", text_fault(key)),
            ("payload", json_fault(payload)),
        ):
            if fault:
                raise InvalidInputs(f"{kind} {shown(name)}: its {what}: {fault}")
        started = []
        for stored in triggers.triggers(kind=kind, waits=name):
            if not stored.paused:
                run_id = self._start(stored, key, None, payload)
                started += [run_id] if run_id else []
        return started

    def _start(
        self, stored: StoredTrigger, key: str, moment: datetime | None, event: Any = None
    ) -> str | None:
        met = occurrence(stored, key, moment)
        graph = draw_or_note(met, self._clock(), event)
        if graph is None:
            return None
        queue.publish(triggers.start(met, graph))
        return met.run_id

    def _shown(self, stored: StoredTrigger, count: int) -> dict[str, Any]:
        times: list[datetime] = []
        moment: datetime | None = max(self._clock(), stored.since)
        while moment is not None and len(times) < count and stored.trigger.is_scheduled:
            moment = next_time(stored.trigger, moment)
            times += [moment] if moment is not None else []
        said = stored.trigger.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {
            "workflow": stored.workflow,
            "id": stored.id,
            "kind": stored.trigger.kind,
            "says": said,
            "paused": stored.paused,
            "by_hand": stored.by_hand,
            "next": [] if stored.paused else [time.isoformat() for time in times],
            "error": stored.error,
        }


def refuse_circle(workflow: Workflow, others: Iterable[StoredTrigger]) -> None:
    """Refuse a workflow that would start itself again, by those that its end starts.

    Raises:
        WorkflowError: It would; the circle is named.
    """
    starts = {workflow.name: {each.after for each in workflow.triggers if each.after is not None}}
    for other in others:
        if other.workflow != workflow.name and other.trigger.after is not None:
            starts.setdefault(other.workflow, set()).add(other.trigger.after)
    try:
        graphlib.TopologicalSorter(starts).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(error.args[1])
        raise WorkflowError(
            f"{circle} would start each other for ever: drop one of the triggers `after`"
        ) from error


def check_signature(name: str, body: bytes, signature: str, now: datetime) -> str:
    """Check the signature of a webhook's call; return it in its one form, by which calls are told apart.

    Raises:
        InvalidInputs: It is wrong, or too old, or the body is too large.
        ConfigurationError: The webhook has no secret, so that anybody could sign.
        UnknownTask: There is no such webhook.
    """
    if name not in settings.webhooks:
        raise UnknownTask(
            f"there is no webhook {shown(name)}: name it under `webhooks` in system.yaml"
        )
    secret = settings.webhooks[name].secret
    if not secret:
        raise ConfigurationError(
            f"webhook {name} has no secret; write one into its password_file in system.yaml"
        )
    if len(body) > LONGEST_BODY:
        raise InvalidInputs(
            f"webhook {name}: the body has {len(body):,} bytes and at most {LONGEST_BODY:,} are taken"
        )
    signed = _SIGNATURE.fullmatch(signature)
    if signed is None:
        raise InvalidInputs(f"webhook {name}: the signature must be t=SECONDS,v1=HEX")
    at, given = signed.groups()
    if abs(now.timestamp() - int(at)) > _SIGNATURE_SECONDS:
        raise InvalidInputs(f"webhook {name}: the signature is older than {_SIGNATURE_SECONDS} s")
    expected = hmac.new(secret.encode(), f"{at}.".encode() + body, "sha256").hexdigest()
    if not hmac.compare_digest(expected, given):
        raise InvalidInputs(f"webhook {name}: the signature does not fit the body and the secret")
    return signature
