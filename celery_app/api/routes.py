"""Every address of the API, on one page.

To add a room of addresses, write its functions into a file of their own and list them here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from celery_app.api import (
    access,
    agents,
    alerts,
    artifacts,
    documents,
    health,
    logs,
    metrics,
    papers,
    projects,
    replies,
    runs,
    streams,
    tasks,
    workflows,
)
from celery_app.api.asking import Asking
from celery_app.observe.batch import MetricsBatch
from workflows.artifact import ProjectArtifact
from workflows.document import Document
from workflows.timeline import Timeline

__all__ = ["EVENTS", "MEDIA", "PUBLIC", "ROUTES", "Address"]


@dataclass(frozen=True)
class Address:
    """A method and a path: what answers, with which status and document."""

    method: str
    path: str
    answer: Callable[..., Any]
    status: int = 200
    gives: type[BaseModel] | Any = None

    @property
    def room(self) -> str:
        """What the address is about."""
        return self.path.split("/")[1].removesuffix(".json") or "console"


async def events(
    request: Request,
    desk: Asking,
    last_event_id: Annotated[str | None, papers.LastEvent] = None,
) -> Response:
    """Tell what happens in all runs that the caller may see, as it happens."""
    return await streams.all_events(request, desk)


#: What anybody may ask.
PUBLIC = (
    Address("GET", "/healthz", health.healthz),
    Address("GET", "/readyz", health.readyz),
    Address("POST", "/webhooks/{name}", workflows.webhook, 202),
)

STANDING = replies.TaskDocument | replies.Standing

#: What must be asked for by somebody.
ROUTES = (
    Address("POST", "/tasks", tasks.submit, 201, STANDING),
    Address("GET", "/tasks", tasks.listed, 200, replies.TaskPage),
    Address("GET", "/tasks/{task_id}", tasks.show, 200, replies.TaskDocument),
    Address("GET", "/tasks/{task_id}/state", tasks.state),
    Address("GET", "/tasks/{task_id}/result", tasks.result, 200, replies.Outcome),
    Address("GET", "/tasks/{task_id}/events", tasks.events, 200, list[replies.Event]),
    Address("POST", "/tasks/{task_id}/cancel", tasks.cancel, 200, STANDING),
    Address("POST", "/tasks/{task_id}/retry", tasks.retry, 200, STANDING),
    Address("POST", "/tasks/{task_id}/give", tasks.give, 200, STANDING),
    Address("POST", "/plans", tasks.plan),
    Address("GET", "/workflows", workflows.listed),
    Address("GET", "/workflows/schema", workflows.schema),
    Address("POST", "/workflows/validate", workflows.validate),
    Address("POST", "/workflows/register", workflows.register, 201),
    Address("GET", "/workflows/{name}", workflows.show),
    Address("GET", "/workflows/{name}/graph", workflows.graph),
    Address("GET", "/workflows/{name}/triggers", workflows.triggers_of),
    Address("POST", "/workflows/{name}/triggers", workflows.add_trigger, 201),
    Address("DELETE", "/workflows/{name}/triggers/{trigger_id}", workflows.remove_trigger, 204),
    Address("POST", "/workflows/{name}/triggers/{trigger_id}/pause", workflows.pause_trigger, 204),
    Address(
        "POST", "/workflows/{name}/triggers/{trigger_id}/resume", workflows.resume_trigger, 204
    ),
    Address("GET", "/triggers", workflows.triggers),
    Address("POST", "/runs", runs.start, 201, replies.Standing),
    Address("GET", "/runs", runs.listed, 200, replies.RunPage),
    Address("GET", "/runs/{run_id}", runs.show, 200, replies.RunDocument),
    Address("GET", "/runs/{run_id}/state", runs.state),
    Address("GET", "/runs/{run_id}/result", runs.result, 200, replies.Outcome),
    Address("GET", "/runs/{run_id}/definition", runs.definition),
    Address("GET", "/runs/{run_id}/graph", runs.graph),
    Address("GET", "/runs/{run_id}/events", runs.events, 200, list[replies.Event]),
    Address("POST", "/runs/{run_id}/cancel", runs.cancel, 200, replies.Standing),
    Address("POST", "/runs/{run_id}/resume", runs.resume, 200, replies.Standing),
    Address("POST", "/runs/{run_id}/fork", runs.fork, 201, replies.Standing),
    Address("POST", "/runs/{run_id}/steps/{step}/approve", runs.approve, 200, replies.Standing),
    Address("POST", "/runs/{run_id}/steps/{step}/reject", runs.reject, 200, replies.Standing),
    Address("GET", "/events", events),
    Address("POST", "/events/{name}", workflows.emit, 202),
    Address("GET", "/projects", projects.listed),
    Address("POST", "/projects", projects.create, 201, replies.ProjectDocument),
    Address("GET", "/projects/{project}", projects.show, 200, replies.ProjectDocument),
    Address("PUT", "/projects/{project}", projects.change, 200, replies.ProjectDocument),
    Address("GET", "/projects/{project}/timeline", projects.timeline, 200, Timeline),
    Address("GET", "/projects/{project}/timeline.svg", projects.picture),
    Address("POST", "/projects/{project}/runs", projects.run, 201, replies.Standing),
    Address("POST", "/projects/{project}/goals/{goal}/accept", projects.accept, 204),
    Address(
        "GET", "/projects/{project}/artifacts", artifacts.artifacts, 200, list[ProjectArtifact]
    ),
    Address("GET", "/projects/{project}/artifacts/{artifact}", artifacts.artifact_content),
    Address(
        "POST",
        "/projects/{project}/artifacts/{artifact}",
        artifacts.add_artifact,
        201,
        ProjectArtifact,
    ),
    Address("GET", "/projects/{project}/budget", agents.budget),
    Address("PUT", "/projects/{project}/budget", agents.set_budget, 204),
    Address("GET", "/documents", documents.listed),
    Address("POST", "/documents", documents.write, 202, replies.Writing),
    Address("GET", "/documents/{project}/{type}", documents.show, 200, Document),
    Address("GET", "/documents/{project}/{type}/diff", documents.diff),
    Address("GET", "/documents/{project}/{type}/check", documents.check),
    Address("POST", "/documents/{project}/{type}/restore", documents.restore, 204),
    Address("GET", "/metrics", metrics.exposed),
    Address("GET", "/metrics.json", metrics.batch, 200, MetricsBatch),
    Address("GET", "/logs", logs.listed, 200, replies.LogPage),
    Address("GET", "/alerts", alerts.listed, 200, replies.AlertPage),
    Address("GET", "/alerts/rules", alerts.rules),
    Address("GET", "/alerts/told", alerts.told),
    Address("POST", "/alerts/{alert}/resolve", alerts.resolve, 204),
    Address("GET", "/alerts/silences", alerts.silences),
    Address("POST", "/alerts/silences", alerts.silence, 201),
    Address("DELETE", "/alerts/silences/{silence}", alerts.end_silence, 204),
    Address("POST", "/alerts/notifiers/{notifier}/test", alerts.try_notifier, 204),
    Address("GET", "/agents", agents.agents),
    Address("GET", "/tools", agents.tools),
    Address("GET", "/models", agents.models),
    Address("GET", "/status", agents.counts),
    Address("GET", "/tokens", access.tokens),
    Address("POST", "/tokens", access.make_token, 201),
    Address("DELETE", "/tokens/{name}", access.revoke_token),
    Address("GET", "/policy/actions", access.actions),
    Address("GET", "/policy/explain", access.explain),
    Address("GET", "/audit/denials", access.denials),
    Address("GET", "/audit/verify", access.verify),
)

#: What is answered with a stream, if that is asked for or nothing else is there.
EVENTS = {"/events", "/logs", "/tasks/{task_id}/events", "/runs/{run_id}/events"}
_DRAWING = ("image/svg+xml", "text/plain; charset=utf-8")
#: What is answered with something else than JSON, or than JSON alone.
MEDIA = {
    "/workflows/{name}/graph": _DRAWING,
    "/runs/{run_id}/graph": _DRAWING,
    "/projects/{project}/timeline": ("application/json", "image/svg+xml"),
    "/projects/{project}/timeline.svg": ("image/svg+xml",),
    "/projects/{project}/artifacts/{artifact}": ("*/*",),
    "/metrics": ("text/plain",),
}
