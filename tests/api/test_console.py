"""Pages of the console as responses: who gets them, what forms do, what errors look like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import httpx
import pytest

from celery_app.api.console.graph import critical_way
from celery_app.api.console.pages import OPEN, PAGES, Page
from celery_app.celery import artifacts
from celery_app.client import Client
from celery_app.handles import TaskHandle
from tests.api.serving import Served
from workflows.artifact import ArtifactType

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def task(client: Client, project: str) -> Iterator[TaskHandle]:
    """A task of a project, that nobody runs."""
    handle = client.submit("Wait for nobody", plan=False, project=project)
    yield handle
    handle.cancel()


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def send(
    asking: httpx.Client, path: str, files: Sequence[str] = (), /, **form: str
) -> httpx.Response:
    """Send a form as the first page would."""
    key = hidden(asking.get("/").text, "form_key")
    given = [("files", (f"{n}.md", text)) for n, text in enumerate(files)]
    return asking.post(path, data={"form_key": key, **form}, files=given or None, headers=OWN)


def name_of(page: Page) -> str:
    return f"{page.method} {page.path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nobody_sees_a_page(served: Served, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.app.state.desks, "_embedded", False)
    path = re.sub(r"{\w+}", str(uuid4()), page.path.replace("{rest:path}", "x"))
    headers = {**OWN, "Accept": "text/html"}
    with httpx.Client(base_url=served.url, trust_env=False, headers=headers) as asking:
        if page.method == "GET":
            response = asking.get(path)
        else:
            key = hidden(asking.get("/console/login").text, "form_key")
            response = asking.post(path, data={"form_key": key})
    assert response.status_code == 303
    assert response.headers["location"].startswith("/console/login")


@pytest.mark.parametrize(
    "page", [each for each in (*OPEN, *PAGES) if each.method == "POST"], ids=name_of
)
def test_no_form_does_anything_without_its_key(asking: httpx.Client, page: Page) -> None:
    path = re.sub(r"{\w+}", str(uuid4()), page.path)
    response = asking.post(path, data={"description": "x"}, headers=OWN)
    assert response.status_code == 403
    assert "load the page again" in response.text


def test_a_form_that_is_sent_twice_hands_in_one_job(asking: httpx.Client, client: Client) -> None:
    once = hidden(asking.get("/").text, "once")
    form = {"description": "Once only", "plan": "no", "once": once}
    first, second = (send(asking, "/console/tasks", [], **form) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    client.task(re.findall(r"[0-9a-f-]{36}", first.headers["location"])[0]).cancel()


def test_files_become_inputs(asking: httpx.Client, client: Client) -> None:
    response = send(
        asking,
        "/console/tasks",
        ["# Cats", "# Dogs"],
        description="Compare",
        plan="no",
        priority="low",
    )
    task_id = re.findall(r"[0-9a-f-]{36}", response.headers["location"])[0]
    page = asking.get(f"/console/tasks/{task_id}").text
    assert "0.md" in page
    assert "# Dogs" in page
    client.task(task_id).cancel()


@pytest.mark.parametrize(
    ("form", "files", "words"),
    [
        ({"description": " "}, [], "nothing to do"),
        ({"description": "Read it"}, ["\0binary"], "0.md is binary; give a text file"),
        ({"description": "Read it"}, [" "], "is empty"),
        ({"description": "Read it", "priority": "soon"}, [], "priority"),
    ],
)
def test_what_is_wrong_with_a_job_is_said_beside_it(
    asking: httpx.Client, form: dict[str, str], files: list[str], words: str
) -> None:
    response = send(asking, "/console/tasks", files, **form)
    assert response.status_code == 422
    assert words in response.text
    if "priority" not in form:
        assert f">{form['description']}</textarea>" in response.text


@pytest.mark.parametrize(
    "job",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"plan": {"job": "x", "steps": [], "source": "given"}, "task": 1}',
    ],
)
def test_a_plan_that_is_none_is_not_run(asking: httpx.Client, client: Client, job: str) -> None:
    before = client.tasks()
    response = send(asking, "/console/plans/run", job=job)
    assert response.status_code == 422
    assert client.tasks() == before


def test_a_plan_is_run_only_with_agents_that_there_are(asking: httpx.Client) -> None:
    step = '{"title": "x", "description": "x", "agent": "burglar"}'
    plan = f'{{"job": "x", "steps": [{step}], "source": "model"}}'
    response = send(
        asking, "/console/plans/run", job=f'{{"task": {{"description": "x"}}, "plan": {plan}}}'
    )
    assert response.status_code == 422
    assert "burglar" in response.text


def test_the_plan_of_a_job_with_large_files_comes_back_whole(
    asking: httpx.Client, client: Client
) -> None:
    text = "The mill turns. \u00e4 & % \n" * 40_000
    inputs = [{"name": f"{n}.md", "text": text} for n in range(2)]
    step = {"title": "x", "description": "Read it", "agent": "writer", "input_names": ["1.md"]}
    plan = {"job": "Read", "steps": [step], "source": "model"}
    job = json.dumps({"task": {"description": "Read", "inputs": inputs}, "plan": plan})
    assert len(job) > 2**21
    response = send(asking, "/console/plans/run", job=job)
    assert response.status_code == 303
    task_id = re.findall(r"[0-9a-f-]{36}", response.headers["location"])[0]
    (only,) = client.task(task_id).tree()["tasks"]
    assert only["description"] == "Read it"
    client.task(task_id).cancel()


@pytest.mark.parametrize("said", [None, "https://flower.example/eyes/"])
def test_flower_is_a_step_away(
    asking: httpx.Client,
    served: Served,
    task: TaskHandle,
    monkeypatch: pytest.MonkeyPatch,
    said: str | None,
) -> None:
    section = served.app.state.settings.monitoring.flower
    monkeypatch.setitem(section.__dict__, "url", said)
    page = asking.get(f"/console/tasks/{task.id}").text
    expected = "https://flower.example/eyes" if said else "http://127.0.0.1:5555"
    assert f'href="{expected}/"' in page
    assert f'href="{expected}/task/{task.id}"' in page


def at(second: int) -> str:
    return f"2026-03-01T12:00:{second:02}+00:00"


def test_the_way_that_the_end_waited_for_is_as_it_was() -> None:
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["a"]}
    over = {
        "a": (at(0), at(5)), "b": (at(5), at(6)), "c": (at(20), at(22)),
        "d": (at(22), at(23)), "e": (at(5), at(21)),
    }  # fmt: skip
    # That e took longest kept nobody waiting; that c was begun late did.
    assert critical_way(needs, over) == ["a", "c", "d"]
    going_on = {**over, "d": (None, None)}
    assert critical_way(needs, going_on) == ["a", "e"]
    assert critical_way(needs, dict.fromkeys(needs, (None, None))) == []


def test_artifacts_are_listed_and_kept_as_files(
    asking: httpx.Client, project: str, task: TaskHandle, served: Served, stranger: str
) -> None:
    words = b"<script>alert(1)</script>"
    put = artifacts.put(project, "notes/mill.html", words, ArtifactType.TEXT, task=str(task.id))
    other = artifacts.put(project, "others.txt", b"x", ArtifactType.TEXT)
    page = asking.get(f"/console/tasks/{task.id}").text
    assert "notes/mill.html" in page
    assert "others.txt" not in page
    path = f"/console/tasks/{task.id}/artifacts"
    response = asking.get(f"{path}/{put.id}")
    assert response.content == words
    assert response.headers["content-disposition"].startswith("attachment")
    assert asking.get(f"{path}/{other.id}").status_code == 404
    holder = {"Authorization": f"Bearer {stranger}"}
    assert asking.get(f"{path}/{put.id}", headers=holder).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/console/tasks/{UUID(int=1)}", 404),
        (f"/console/runs/{UUID(int=1)}", 404),
        ("/console/tasks/x", 422),
        ("/?cursor=x", 422),
        ("/?show=x", 422),
        ("/console/x/y", 404),
    ],
)
def test_errors_are_pages(asking: httpx.Client, path: str, status: int) -> None:
    response = asking.get(path)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/html")
    assert "<h1>" in response.text


def test_what_nobody_expected_tells_nothing_of_its_inside(
    asking: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the inside")

    monkeypatch.setattr("celery_app.store.pages.PageStore.works", broken)
    response = asking.get("/")
    assert response.status_code == 500
    assert "the log of the API says what" in response.text
    assert "the inside" not in response.text


def test_the_document_of_the_api_knows_no_pages(asking: httpx.Client) -> None:
    paths = asking.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/console")]
