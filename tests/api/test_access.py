"""Every case of the table of permissions, through the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from celery_app import celery
from celery_app.celery import access, database
from celery_app.client import Client
from celery_app.security.policy import Policy
from celery_app.worker import permissions
from tests.api.serving import Served
from tests.security.cases import CASES, Case
from tests.security.test_access import workflow
from workflows.definitions import load

POLICY = Policy.load(Path(__file__).parents[1] / "security" / "policies.yaml")


@pytest.fixture(autouse=True, scope="module")
def policy(client: Client) -> Iterator[None]:
    """The rules of that folder are in force, and whoever runs the tests is an operator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celery, "policy", lambda: POLICY)
        patch.setattr(permissions, "policy", lambda: POLICY)
        patch.setattr(celery, "local_user", lambda: "user:tester")
        yield


@pytest.fixture(scope="module")
def tokens(client: Client) -> Iterator[dict[str, str]]:
    names = {
        case.subject.removeprefix("token:") for case in CASES if case.subject.startswith("token:")
    }
    yield {f"token:{name}": access.create(name)[1] for name in names}
    database.rows("DELETE FROM token WHERE name = ANY (:names)", names=list(names))


@pytest.fixture(scope="module")
def run_id(policy: None) -> Iterator[UUID]:
    """A run of a workflow that has not begun."""
    run = Client().start_workflow(load(workflow("triage")))
    yield run.id
    celery.graphs.cancel(str(run.id))


def name_of(case: Case) -> str:
    return case.resource.partition(":")[2]


def submission(case: Case) -> dict[str, Any]:
    kind, name = case.resource.split(":")
    asked = {"agent": "agent", "celery": "task"}.get(kind)
    return {
        "description": "a case",
        **({asked: name} if asked else {}),
        "required_capabilities": list(case.capabilities),
        "security_requirements": {"level": case.level.value},
        **({"plan": False} if kind != "celery" else {}),
    }


Request = tuple[str, str, Any]

REQUESTS: dict[str, Callable[[Case, UUID], Request]] = {
    "task.submit": lambda case, run_id: ("POST", "/tasks", submission(case)),
    "task.read": lambda case, run_id: ("GET", f"/tasks/{uuid4()}", None),
    "task.cancel": lambda case, run_id: ("POST", f"/tasks/{uuid4()}/cancel", None),
    "task.retry": lambda case, run_id: ("POST", f"/tasks/{uuid4()}/retry", None),
    "event.emit": lambda case, run_id: ("POST", f"/events/{name_of(case)}", {}),
    "budget.change": lambda case, run_id: ("PUT", "/projects/bees/budget", {"tokens": 10}),
    "workflow.run": lambda case, run_id: ("POST", "/runs", {"text": workflow(name_of(case))}),
    "workflow.change": lambda case, run_id: (
        "POST", "/workflows/register", {"text": workflow(name_of(case))},
    ),
    "workflow.read": lambda case, run_id: ("GET", f"/runs/{run_id}", None),
    "workflow.answer": lambda case, run_id: ("POST", f"/runs/{run_id}/steps/go/approve", {}),
    "token.change": lambda case, run_id: ("DELETE", f"/tokens/nobody-{uuid4()}", None),
    "system.read": lambda case, run_id: ("GET", "/status", None),
}  # fmt: skip


def cases() -> list[Case]:
    """Those that can ask over HTTP; workers and agents ask elsewhere, and a level is a task's."""
    return [
        case
        for case in CASES
        if case.action in REQUESTS
        and (case.action == "task.submit" or not case.capabilities)
        and not (case.action == "workflow.run" and case.level != "internal")
    ]


@pytest.mark.parametrize("case", cases(), ids=str)
def test_the_api_lets_in_or_turns_away(
    served: Served,
    case: Case,
    monkeypatch: pytest.MonkeyPatch,
    tokens: dict[str, str],
    run_id: UUID,
) -> None:
    headers = {}
    if case.subject.startswith("token:"):
        headers["Authorization"] = f"Bearer {tokens[case.subject]}"
    else:
        monkeypatch.setattr(celery, "local_user", lambda: case.subject)
    method, path, body = REQUESTS[case.action](case, run_id)
    response = httpx.request(
        method, f"{served.url}{path}", json=body, headers=headers, timeout=30, trust_env=False
    )
    if case.allowed:
        # It was let in, whatever there is to be found.
        assert response.status_code in (200, 201, 202, 204, 404, 409, 422), response.text
        assert not (response.status_code == 422 and case.action == "task.submit"), response.text
        return
    assert response.status_code == 403, response.text
    assert response.json()["kind"] == "PermissionDenied"
    assert case.action in response.json()["detail"]
    told = access.denials(1)[0]
    assert (told["subject"], told["action"]) == (case.subject, case.action)


def test_what_one_may_hand_in_but_not_see_is_not_shown(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery, "local_user", lambda: "user:tim")
    key = f"k-{uuid4()}"
    secret = client.submit("A secret", plan=False, idempotency_key=key)
    response = httpx.post(
        f"{served.url}/tasks", timeout=30, trust_env=False,
        json={"task": "chore.echo", "args": [1], "idempotency_key": key},
    )  # fmt: skip
    assert response.status_code == 201
    assert response.json() == {"id": str(secret.id), "state": "queued"}
    secret_found = httpx.get(f"{served.url}/tasks/{secret.id}", timeout=30, trust_env=False)
    assert secret_found.status_code == 403
    celery.graphs.cancel(str(secret.id))
