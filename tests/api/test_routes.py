"""Every address: once for somebody who may, once for somebody who may not, once for nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest
from starlette.routing import Route

from celery_app.api.console.pages import OPEN, PAGES
from celery_app.api.routes import EVENTS, PUBLIC, ROUTES, Address
from celery_app.client import Client
from celery_app.handles import RunHandle, TaskHandle
from celery_app.orchestrator.triggers import Triggers
from tests.api.conftest import project_wish
from tests.api.serving import Served
from workflows.definitions import load

ASKS = (
    "name: {name}\ninputs: {{x: {{default: 1}}}}\nsteps:\n"
    "  - {{id: ask, approval: {{question: 'Go on?'}}}}\n"
    "  - {{id: go, task: chore.echo, args: [1]}}\n"
)


def asks(name: str) -> str:
    return ASKS.format(name=name)


@pytest.fixture
def task(client: Client) -> Iterator[TaskHandle]:
    """A task with a budget, that nobody runs."""
    handle = client.submit("Wait for nobody", plan=False, resources={"tokens": 5})
    yield handle
    handle.cancel()


@pytest.fixture
def run(client: Client) -> Iterator[RunHandle]:
    """A run; there is no worker, so it has not begun."""
    handle = client.start_workflow(load(asks("asking")))
    yield handle
    handle.cancel()


@pytest.fixture(scope="module")
def registered(client: Client) -> str:
    """A workflow that may have triggers."""
    client.register_workflow(load(asks("registered")))
    return "registered"


@pytest.fixture
def trigger_id(registered: str) -> str:
    return str(Triggers().add(registered, {"event": f"e-{uuid4()}"}).id)


BODIES: dict[str, Callable[[], Any]] = {
    "POST /tasks": lambda: {"task": "chore.echo", "args": [1]},
    "POST /plans": lambda: {"description": ""},
    "POST /tasks/{task_id}/give": lambda: {"tokens": 1},
    "POST /workflows/validate": lambda: {"text": asks("some")},
    "POST /workflows/register": lambda: {"text": asks("some")},
    "POST /workflows/{name}/triggers": lambda: {"event": f"e-{uuid4()}"},
    "POST /runs": lambda: {"text": asks("some")},
    "POST /runs/{run_id}/fork": lambda: {"inputs": {"x": 2}},
    "POST /runs/{run_id}/steps/{step}/approve": dict,
    "POST /runs/{run_id}/steps/{step}/reject": dict,
    "POST /events/{name}": lambda: {"payload": 1},
    "PUT /projects/{project}/budget": lambda: {"tokens": 1000},
    "POST /projects": lambda: project_wish(f"p-{uuid4().hex[:8]}"),
    "POST /projects/{project}/runs": dict,
    "POST /documents/{project}/{type}/restore": lambda: {"version": 1},
    "POST /alerts/silences": lambda: {"rule": "errors", "seconds": 60},
    "POST /tokens": lambda: {"name": f"t-{uuid4().hex[:8]}"},
}
#: Where the state of what is there does not allow it, or what is sent is refused on purpose.
OTHERWISE = {
    "POST /plans": 422,
    "POST /tasks/{task_id}/retry": 409,
    "POST /runs/{run_id}/resume": 409,
    "POST /runs/{run_id}/steps/{step}/approve": 409,
    "POST /runs/{run_id}/steps/{step}/reject": 409,
    "POST /projects/{project}/goals/{goal}/accept": 409,
    "POST /alerts/{alert}/resolve": 404,
    "POST /alerts/notifiers/{notifier}/test": 422,
    "DELETE /tokens/{name}": 422,
}
QUERIES = {
    "/policy/explain": {
        "subject": "user:ann",
        "action": "task.read",
        "resource": "task:1",
    }
}


def key(address: Address) -> str:
    return f"{address.method} {address.path}"


def ask(
    asking: httpx.Client, address: Address, filled: dict[str, str], **headers: str
) -> httpx.Response:
    body = BODIES.get(key(address), lambda: None)()
    if key(address) == "PUT /projects/{project}":
        body = project_wish(filled["project"])
    if key(address) == "POST /documents":
        body = {"project": filled["project"], "type": "overview"}
    path = address.path.format(**filled)
    params = QUERIES.get(path)
    if address.path == "/events":
        with asking.stream("GET", path, headers=headers) as response:
            if response.status_code != 200:
                response.read()
            return response
    return asking.request(address.method, path, json=body, params=params, headers=headers)


@pytest.fixture
def filled(
    client: Client, task: TaskHandle, run: RunHandle, trigger_id: str, written: str, silence: int
) -> dict[str, str]:
    client.set_project_budget(written, tokens=10)
    return {
        "task_id": str(task.id), "run_id": str(run.id), "name": "triage", "step": "ask",
        "trigger_id": trigger_id, "project": written, "goal": "facts", "artifact": "in/notes.md",
        "type": "readme", "alert": str(2**40), "silence": str(silence), "notifier": "nobody",
    }  # fmt: skip


@pytest.mark.parametrize("address", ROUTES, ids=key)
def test_somebody_who_may_is_answered(
    asking: httpx.Client, address: Address, filled: dict[str, str]
) -> None:
    if "trigger" in address.path:
        filled["name"] = "registered"
    response = ask(asking, address, filled)
    assert response.status_code == OTHERWISE.get(key(address), address.status), response.text
    documented = asking.get("/openapi.json").json()["paths"][address.path][address.method.lower()]
    assert str(response.status_code) in documented["responses"]
    fits(asking, documented, response)


def fits(asking: httpx.Client, documented: dict[str, Any], response: httpx.Response) -> None:
    """Check the document that was given against the one that was promised."""
    told = documented["responses"][str(response.status_code)].get("content", {})
    media = response.headers.get("content-type", "").split(";")[0]
    schema = next(
        (each.get("schema") for kind, each in told.items() if kind.split(";")[0] == media), None
    )
    if schema and "json" in media:
        whole = asking.get("/openapi.json").json()
        jsonschema.validate(response.json(), {**schema, "components": whole["components"]})


@pytest.mark.parametrize("address", ROUTES, ids=key)
def test_somebody_who_may_not_is_denied(
    asking: httpx.Client, address: Address, filled: dict[str, str], stranger: str
) -> None:
    response = ask(asking, address, filled, Authorization=f"Bearer {stranger}")
    if key(address) == "POST /plans":
        assert response.status_code == 422
        response = asking.post(
            "/plans", json={"description": "Plan"}, headers={"Authorization": f"Bearer {stranger}"}
        )
    assert response.status_code == 403, response.text
    told = response.json()
    assert (told["kind"], told["exit_code"]) == ("PermissionDenied", 3)
    assert "token:stranger-" in told["detail"]


@pytest.mark.parametrize("address", ROUTES, ids=key)
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer aiat_0_0"},
        {"Authorization": "Basic eDp5"},
        {"Origin": "http://evil.example"},
        {"Host": "evil.example"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_nobody_is_turned_away(
    asking: httpx.Client, address: Address, headers: dict[str, str]
) -> None:
    names = re.findall(r"{(\w+)}", address.path)
    filled = {name: str(uuid4()) for name in ("project", *names)}
    response = ask(asking, address, filled, **headers)
    assert response.status_code == 401, response.text
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["kind"] == "TokenRefused"


def test_no_address_is_left_out(served: Served) -> None:
    listed = (*PUBLIC, *ROUTES, *OPEN, *PAGES)
    known = {(address.method, address.path.replace(":path}", "}")) for address in listed}
    there = {
        (method, route.path_format)
        for route in served.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    assert there - known == {("GET", "/openapi.json"), ("HEAD", "/openapi.json")}
    assert {address.path for address in ROUTES} >= EVENTS


def test_what_is_not_there_is_said_in_the_same_form(asking: httpx.Client) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("PATCH", "/tasks", 405)):
        response = asking.request(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == status


def test_the_document_has_examples(asking: httpx.Client) -> None:
    document = asking.get("/openapi.json").json()
    body = document["paths"]["/tasks"]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["examples"]) == {"job", "chore", "graph"}
    for example in body["examples"].values():
        response = asking.post("/tasks", json=example["value"])
        assert response.status_code == 201, response.text
        asking.post(f"/tasks/{response.json()['id']}/cancel")
    assert "bearer" in json.dumps(document["components"]["securitySchemes"])
