"""`RemoteDesk`: the desk of a program that asks the HTTP API.

Invariant: what it gives and raises is what `LocalDesk` would have given and raised over there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from celery_app.desk import Kind, Outcome
from celery_app.remote import Remote, raised
from celery_app.remote_documents import RemoteDocuments
from celery_app.store.budgets import Budget
from celery_app.store.projects import Listed
from workflows.artifact import ProjectArtifact
from workflows.errors import InvalidWorkflow
from workflows.problem import Problem
from workflows.project import Project, ProjectSpec
from workflows.project_plan import OnGoal
from workflows.task import Priority, ResourceRequirements, Task
from workflows.text_file import read_text
from workflows.workflow import Workflow

__all__ = ["RemoteDesk"]

#: Seconds that one request waits for a result, before another one does.
_WAIT = 25.0
_PAGE = 500


class RemoteDesk:
    """Asks an API.

    Args:
        url: Where it is: `http://localhost:8000`.
        token: Who asks; by default the one in AI_AGENT_TOKEN, if there is one.

    Attributes:
        documents: Documents about projects.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._remote = Remote(url, token)
        self.documents = RemoteDocuments(self._remote, self.outcome, self.project)

    def submit(self, task: Task) -> UUID:
        """See `Client.submit`."""
        sent = task.model_dump(mode="json", exclude_defaults=True) | {"id": str(task.id)}
        return UUID(self._remote.post("/tasks", sent)["id"])

    def plan(self, task: Task) -> dict[str, Any]:
        """See `Client.plan`."""
        sent = task.model_dump(mode="json", exclude_defaults=True)
        plan: dict[str, Any] = self._remote.post("/plans", sent, patient=True)
        return plan

    def tasks(self, state: str | None, limit: int) -> list[dict[str, Any]]:
        """See `Client.tasks`."""
        return self._paged("/tasks", limit, state=state)

    def state(self, kind: Kind, task_id: UUID) -> str:
        """See `TaskHandle.state`."""
        return str(self._remote.get(f"{_at(kind, task_id)}/state")["state"])

    def outcome(self, kind: Kind, task_id: UUID, timeout: float | None) -> Outcome:
        """Wait for the end; the server tells of it at once."""
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            wait = max(0.0, min(_WAIT, until - time.monotonic()))
            found = self._remote.get(f"{_at(kind, task_id)}/result", wait=wait)
            if found["over"] or time.monotonic() >= until:
                error = None if found["error"] is None else raised(found["error"])
                return Outcome(found["state"], found["over"], found["result"], error)  # type: ignore[arg-type]

    def events(self, kind: Kind, task_id: UUID, after: int) -> list[dict[str, Any]]:
        """See `TaskHandle.events`."""
        events: list[dict[str, Any]] = self._remote.get(f"{_at(kind, task_id)}/events", after=after)
        return events

    def follow(self, kind: Kind, task_id: UUID, after: int, text: bool) -> Iterator[dict[str, Any]]:
        """See `TaskHandle.events`."""
        return self._remote.stream(f"{_at(kind, task_id)}/events", after=after, text=text)

    def tree(self, kind: Kind, task_id: UUID) -> dict[str, Any]:
        """See `TaskHandle.tree`."""
        tree: dict[str, Any] = self._remote.get(_at(kind, task_id))
        return tree

    def cancel(self, kind: Kind, task_id: UUID) -> None:
        """See `TaskHandle.cancel`."""
        self._remote.post(f"{_at(kind, task_id)}/cancel")

    def retry(self, task_id: UUID) -> None:
        """See `TaskHandle.retry`."""
        self._remote.post(f"/tasks/{task_id}/retry")

    def give(self, task_id: UUID, *, tokens: int, calls: int, seconds: float) -> None:
        """See `TaskHandle.give`."""
        sent = {"tokens": tokens, "calls": calls, "seconds": seconds}
        self._remote.post(f"/tasks/{task_id}/give", sent)

    def workflows(self) -> list[Workflow]:
        """See `Client.workflows`."""
        return [_workflow(plain) for plain in self._remote.get("/workflows")]

    def read_workflow(self, path: Path) -> Workflow:
        """See `Client.read_workflow`; the server knows which agents and tasks there are."""
        sent = {"text": _text_of(path), "file": str(path)}
        found = self._remote.post("/workflows/validate", sent)
        if not found["valid"]:
            told = [{k: v for k, v in each.items() if k != "message"} for each in found["problems"]]
            raise InvalidWorkflow([Problem(**each) for each in told])
        return _workflow(found["workflow"])

    def start(
        self,
        workflow: Workflow | Path | str,
        inputs: Mapping[str, Any],
        *,
        run_id: UUID | None,
        project: str | None,
        priority: Priority | str,
        resources: ResourceRequirements | Mapping[str, Any] | None,
    ) -> UUID:
        """See `Client.start_workflow`."""
        needs = ResourceRequirements.model_validate(resources or {})
        sent = {
            **_named(workflow),
            "inputs": dict(inputs),
            "id": None if run_id is None else str(run_id),
            "project": project,
            "priority": str(priority),
            "resources": needs.model_dump(mode="json", exclude_defaults=True),
        }
        return UUID(self._remote.post("/runs", sent)["id"])

    def runs(self, workflow: str | None, limit: int) -> list[dict[str, Any]]:
        """See `Client.runs`."""
        return self._paged("/runs", limit, workflow=workflow)

    def definition(self, run_id: UUID) -> Workflow:
        """See `RunHandle.workflow`."""
        return _workflow(self._remote.get(f"/runs/{run_id}/definition"))

    def answer(
        self, run_id: UUID, step: str, *, approved: bool, answer: Any, by: str | None
    ) -> None:
        """See `RunHandle.approve`."""
        verb = "approve" if approved else "reject"
        sent = {"answer": answer, "by": by}
        self._remote.post(f"/runs/{run_id}/steps/{quote(step, safe='')}/{verb}", sent)

    def resume(self, run_id: UUID) -> None:
        """See `RunHandle.resume`."""
        self._remote.post(f"/runs/{run_id}/resume")

    def fork(
        self,
        run_id: UUID,
        step: str | None,
        *,
        inputs: Mapping[str, Any] | None,
        workflow: Workflow | None,
    ) -> UUID:
        """See `RunHandle.fork`."""
        definition = None if workflow is None else workflow.plain()
        sent = {"step": step, "inputs": dict(inputs or {}), "workflow": definition}
        return UUID(self._remote.post(f"/runs/{run_id}/fork", sent)["id"])

    def register(self, workflow: Workflow | Path | str) -> None:
        """See `Client.register_workflow`."""
        self._remote.post("/workflows/register", _named(workflow))

    def emit(self, event: str, payload: Any, key: str | None) -> list[UUID]:
        """See `Client.emit`."""
        sent = {"payload": payload, "key": key}
        found = self._remote.post(f"/events/{quote(event, safe='')}", sent)
        return [UUID(run_id) for run_id in found["runs"]]

    def set_project_budget(
        self, project: str, *, tokens: int | None, calls: int | None, seconds: float | None
    ) -> None:
        """See `Client.set_project_budget`."""
        sent = {"tokens": tokens, "calls": calls, "seconds": seconds}
        self._remote.put(f"{_of_project(project)}/budget", sent)

    def project_budget(self, project: str) -> Budget:
        """See `Client.project_budget`."""
        return Budget(**self._remote.get(f"{_of_project(project)}/budget"))

    def projects(self) -> list[Listed]:
        """See `Client.projects`."""
        return [
            Listed(
                **{
                    **each,
                    "id": UUID(each["id"]),
                    "created_at": datetime.fromisoformat(each["created_at"]),
                }
            )
            for each in self._remote.get("/projects")
        ]

    def create_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> Project:
        """See `Client.create_project`."""
        sent = {"project": spec.model_dump(mode="json"), "inputs": dict(inputs)}
        made = Project.read(self._remote.post("/projects", sent, patient=True))
        return _told(made, None, on_goal)

    def change_project(
        self, spec: ProjectSpec, inputs: Mapping[str, str], on_goal: OnGoal | None
    ) -> Project:
        """See `Client.change_project`."""
        before = None if on_goal is None else self.project(spec.name)
        sent = {"project": spec.model_dump(mode="json"), "inputs": dict(inputs)}
        made = Project.read(self._remote.put(_of_project(spec.name), sent, patient=True))
        return _told(made, before, on_goal)

    def project(self, name: str) -> Project:
        """See `ProjectHandle.get`."""
        return Project.read(self.project_document(name))

    def project_document(self, name: str) -> dict[str, Any]:
        """See `ProjectHandle.document`."""
        document: dict[str, Any] = self._remote.get(_of_project(name))
        return document

    def run_project(self, name: str, goals: Sequence[str]) -> UUID:
        """See `ProjectHandle.run`."""
        sent = {"goals": list(goals)}
        return UUID(self._remote.post(f"{_of_project(name)}/runs", sent)["id"])

    def accept_goal(self, name: str, goal: str) -> None:
        """See `ProjectHandle.accept`."""
        self._remote.post(f"{_of_project(name)}/goals/{quote(goal, safe='')}/accept")

    def artifacts(self, name: str) -> list[ProjectArtifact]:
        """See `ProjectHandle.artifacts`."""
        found = self._remote.get(f"{_of_project(name)}/artifacts")
        return [ProjectArtifact.model_validate(each) for each in found]

    def artifact(self, name: str, artifact: str) -> bytes:
        """See `ProjectHandle.artifact`."""
        return self._remote.content(f"{_of_project(name)}/artifacts/{quote(artifact, safe='')}")

    def add_artifact(
        self, name: str, artifact: str, content: bytes, file: str | None
    ) -> ProjectArtifact:
        """See `ProjectHandle.add_artifact`."""
        path = f"{_of_project(name)}/artifacts/{quote(artifact, safe='')}"
        return ProjectArtifact.model_validate(self._remote.send(path, content, file=file))

    def check_models(self) -> None:
        """See `Client.check_models`."""
        self._remote.get("/models")

    def _paged(self, path: str, limit: int, **wanted: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            size = min(_PAGE, limit - len(found))
            page = self._remote.get(path, limit=size, cursor=cursor, **wanted)
            found += page["items"]
            if (cursor := page["next"]) is None:
                break
        return found


def _of_project(name: str) -> str:
    return f"/projects/{quote(name, safe='')}"


def _told(made: Project, before: Project | None, on_goal: OnGoal | None) -> Project:
    """Tell of the goals that were planned, which the server does not do while it plans."""
    known = before.plan.goals if before is not None and before.plan is not None else {}
    for name, goal in made.plan.goals.items() if on_goal and made.plan else ():
        if on_goal and known.get(name) != goal:
            on_goal(name, goal.plan)
    return made


def _at(kind: Kind, task_id: UUID) -> str:
    return f"/{kind}s/{task_id}"


def _named(workflow: Workflow | Path | str) -> dict[str, Any]:
    if isinstance(workflow, Path):
        return {"text": _text_of(workflow), "file": str(workflow)}
    return {"workflow": workflow if isinstance(workflow, str) else workflow.plain()}


def _text_of(path: Path) -> str:
    try:
        return read_text(path)
    except ValueError as error:
        raise InvalidWorkflow([Problem(str(path), 1, "", f"it {error}")]) from error


def _workflow(plain: Mapping[str, Any]) -> Workflow:
    return Workflow.model_validate(plain, by_alias=True, by_name=False)
