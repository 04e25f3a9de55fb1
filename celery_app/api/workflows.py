"""/workflows, /triggers, /events/NAME and /webhooks: what there is to run, and what starts it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Body, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from celery_app.api.asking import Asking
from celery_app.api.once import HEADER
from celery_app.api.papers import Definition, EventNews, Words, WorkflowText
from celery_app.api.problems import Refusal
from celery_app.api.route import document
from celery_app.errors import UnknownTask
from celery_app.local_desk import LocalDesk
from celery_app.orchestrator.triggers import LONGEST_BODY, Triggers
from workflows.definitions import schema as described
from workflows.drawing import mermaid
from workflows.errors import InvalidInputs, InvalidWorkflow
from workflows.json_text import read_json
from workflows.problem import nearest, shown
from workflows.state import StepStatus
from workflows.storable import JsonObject
from workflows.svg import svg
from workflows.workflow import Workflow

__all__ = ["defined", "meant", "named", "picture"]


def listed(desk: Asking) -> Response:
    """List the workflows of the files; those with mistakes are left out."""
    return document([each.plain() for each in desk.workflows()])


def show(desk: Asking, name: Words) -> Response:
    """Show a workflow as its file has it."""
    return document(named(desk, name).plain())


def graph(
    desk: Asking,
    name: Words,
    format: Literal["svg", "mermaid"] = "svg",  # noqa: A002 - a word for callers
) -> Response:
    """Draw a workflow."""
    return picture(named(desk, name), {}, format)


def schema(desk: Asking) -> Response:
    """Return the JSON schema of workflow files, for editors."""
    desk.permissions.require("workflow.read", "workflow:*")
    return document(described())


def validate(desk: Asking, given: WorkflowText) -> Response:
    """Tell everything that is wrong with a workflow; one without mistakes comes back as it was understood."""
    desk.permissions.require("workflow.read", "workflow:*")
    try:
        workflow = desk.files.parse(given.text, given.file)
    except InvalidWorkflow as invalid:
        problems = [{**vars(each), "message": str(each)} for each in invalid.problems]
        return document({"valid": False, "problems": problems, "workflow": None})
    return document({"valid": True, "problems": [], "workflow": workflow.plain()})


def register(desk: Asking, given: Definition) -> Response:
    """Put the triggers of a workflow in force."""
    workflow = meant(desk, given)
    desk.register(workflow)
    return document({"name": workflow.name, "digest": workflow.digest}, 201)


def triggers(desk: Asking) -> Response:
    """List what starts workflows, with the next times of what follows a clock."""
    return document(desk.triggers.listed())


def triggers_of(desk: Asking, name: Words) -> Response:
    """List what starts a workflow."""
    return document(desk.triggers.listed(name))


def add_trigger(
    desk: Asking,
    name: Words,
    trigger: Annotated[JsonObject, Body(examples=[{"cron": "0 7 * * mon"}])],
) -> Response:
    """Add a trigger, with the keys of a file, to a registered workflow."""
    added = desk.triggers.add(name, trigger)
    return document({"workflow": name, "id": str(added.id)}, 201)


def remove_trigger(desk: Asking, name: Words, trigger_id: Words) -> Response:
    """Take a trigger away; one that stands in a file comes back when the file changes."""
    desk.triggers.remove(name, trigger_id)
    return Response(status_code=204)


def pause_trigger(desk: Asking, name: Words, trigger_id: Words) -> Response:
    """Stop a trigger until it is resumed."""
    desk.triggers.pause(name, trigger_id)
    return Response(status_code=204)


def resume_trigger(desk: Asking, name: Words, trigger_id: Words) -> Response:
    """Let a paused trigger go on, from now."""
    desk.triggers.resume(name, trigger_id)
    return Response(status_code=204)


def emit(
    desk: Asking,
    name: Words,
    news: EventNews,
    idempotency_key: Annotated[str | None, Header(alias=HEADER)] = None,
) -> Response:
    """Tell that an event has happened; every workflow with a trigger for it is started."""
    started = desk.emit(name, news.payload, news.key)
    return document({"runs": [str(run_id) for run_id in started]}, 202)


async def webhook(
    request: Request,
    name: Words,
    signature: Annotated[str, Header(alias="X-Signature", description="t=SECONDS,v1=HEX")] = "",
) -> Response:
    """Take a signed call; every workflow that waits for it is started, once for each call.

    The signature is the HMAC-SHA256 of `SECONDS.BODY` under the secret of the webhook, in hexadecimal.
    """
    body = await request.body()
    if len(body) > LONGEST_BODY:
        words = f"the body has more than {LONGEST_BODY:,} bytes, which is the most that is taken"
        raise Refusal(413, "TooLarge", words)
    payload = _payload(body)
    started = await run_in_threadpool(Triggers().webhook, name, body, payload, signature)
    return document({"runs": started}, 202)


def meant(desk: LocalDesk, given: Definition) -> Workflow:
    """Return the workflow that is meant. Raises `InvalidInputs`, and `InvalidWorkflow`."""
    if (given.workflow is None) == (given.text is None):
        raise InvalidInputs("give `workflow` (a name, or a definition) or `text` (as YAML)")
    if given.text is not None:
        return desk.files.parse(given.text, given.file)
    if isinstance(given.workflow, str):
        return desk.files.named(given.workflow)
    return defined(desk, given.workflow or {})


def defined(desk: LocalDesk, plain: Mapping[str, Any]) -> Workflow:
    """Return the workflow that a JSON object is. Raises `InvalidWorkflow` with all that is wrong."""
    return desk.files.parse(json.dumps(plain), "workflow")


def picture(
    workflow: Workflow, states: Mapping[str, StepStatus], form: Literal["svg", "mermaid"]
) -> Response:
    """Return a drawing."""
    if form == "svg":
        return Response(svg(workflow, states), media_type="image/svg+xml")
    return Response(mermaid(workflow, states), media_type="text/plain; charset=utf-8")


def named(desk: LocalDesk, name: str) -> Workflow:
    """Return a workflow of the files. Raises `UnknownTask`, and `InvalidWorkflow` if it has mistakes."""
    desk.permissions.require("workflow.read", f"workflow:{name}")
    names = desk.files.names
    if name not in names:
        raise UnknownTask(f"there is no workflow {shown(name)}: {nearest(name, names)}")
    return desk.files.named(name)


def _payload(body: bytes) -> Any:
    """Return a body as JSON, or as the text that it is otherwise."""
    text = body.decode(errors="replace")
    try:
        return read_json(text)
    except ValueError:
        return text
