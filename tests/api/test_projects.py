"""Projects and documents over HTTP: plans, pictures, contents as they were kept, versions."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from celery_app.client import Client
from tests.api.conftest import project_wish


def test_a_text_does_as_well(asking: httpx.Client) -> None:
    name = f"cats-{uuid4().hex[:6]}"
    text = f"name: {name}\ndescription: Cats\ngoals:\n  - {{name: facts, description: Name cats}}\n"
    made = asking.post("/projects", json={"text": text})
    assert made.status_code == 201, made.text
    assert [goal["state"] for goal in made.json()["goals"]] == ["open"]
    assert made.json()["plan"]["tasks"]
    assert name in [each["name"] for each in asking.get("/projects").json()]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "give `project`"),
        ({"text": "a: 1", "project": {}}, "give `project`"),
        ({"text": "name: x\ndescription: y\ngols: []\n"}, "project:3: gols is no known key"),
        ({**project_wish("pets"), "inputs": {}}, "needs the input in/notes.md"),
        ({"text": "x", "folder": "/etc"}, "folder"),
    ],
    ids=["nothing", "both", "a mistake", "no input", "an unknown key"],
)
def test_what_is_wrong_is_said(asking: httpx.Client, body: dict[str, Any], words: str) -> None:
    response = asking.post("/projects", json=body)
    assert response.status_code == 422
    assert words in response.json()["detail"]


def test_an_address_means_one_project(asking: httpx.Client, project: str) -> None:
    response = asking.put(f"/projects/{project}", json=project_wish("another"))
    assert response.status_code == 422
    assert "the address says" in response.json()["detail"]
    response = asking.put("/projects/no-such", json=project_wish("no-such"))
    assert (response.status_code, response.json()["kind"]) == (404, "UnknownProject")


def test_a_plan_is_told_and_drawn(asking: httpx.Client, project: str) -> None:
    path = f"/projects/{project}/timeline"
    assert {each["goal"] for each in asking.get(path).json()["items"]} == {"facts", "report"}
    for response in (
        asking.get(path, headers={"Accept": "image/svg+xml"}),
        asking.get(f"{path}.svg"),
    ):
        assert response.headers["content-type"].startswith("image/svg+xml")
        assert response.text.startswith("<svg")


@pytest.mark.parametrize(
    ("name", "content", "media"),
    [
        ("page.html", b"<script>alert(1)</script>", "text/plain; charset=utf-8"),
        ("a/b \u00e4.json", b'{"a": 1}', "application/json"),
        ("table.csv", b"a,b\n1,2\n", "text/csv; charset=utf-8"),
        ("cat.svg", b"<svg onload='alert(1)'/>", "image/svg+xml"),
        ("some", b"\x00\xff", "application/octet-stream"),
    ],
    ids=["page", "json", "table", "picture", "bytes"],
)
def test_a_content_is_given_as_it_was_kept(
    asking: httpx.Client, project: str, name: str, content: bytes, media: str
) -> None:
    path = f"/projects/{project}/artifacts/{name}"
    kept = asking.post(path, content=content)
    assert (kept.status_code, kept.json()["size"]) == (201, len(content))
    found = asking.get(path)
    assert (found.content, found.headers["content-type"]) == (content, media)
    assert found.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    assert found.headers["x-content-type-options"] == "nosniff"
    known = asking.get(path, headers={"If-None-Match": found.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert name in [each["name"] for each in asking.get(f"/projects/{project}/artifacts").json()]


def test_versions_are_compared_and_restored(asking: httpx.Client, written: str) -> None:
    path = f"/documents/{written}/readme"
    document = asking.get(path).json()
    assert (document["version"], document["content"]) == (2, "# Pets\n\nDogs.\n")
    assert asking.get(path, params={"version": 1}).json()["content"] == "# Pets\n\nCats.\n"
    assert asking.get(path, params={"version": 3}).status_code == 404
    assert "-Cats.\n+Dogs." in asking.get(f"{path}/diff").json()["diff"]
    assert asking.post(f"{path}/restore", json={"version": 1}).status_code == 204
    assert asking.get(path).json()["version"] == 1
    listed = asking.get("/documents", params={"project": written, "versions": True}).json()
    assert [(each["version"], each["holds"]) for each in listed] == [(2, False), (1, True)]
    assert len(asking.get("/documents", params={"project": written}).json()) == 1
    checked = asking.get(f"{path}/check").json()
    assert checked["changes"]["facts:goals"] in ("changed", "gone")


def test_a_document_is_begun_and_no_folder_is_named(
    asking: httpx.Client, client: Client, written: str
) -> None:
    body = {"project": written, "type": "overview"}
    response = asking.post("/documents", json={**body, "folder": "/etc"})
    assert response.status_code == 422
    begun = asking.post("/documents", json=body)
    assert begun.status_code == 202
    assert begun.json()["written"]
    client.task(begun.json()["run"]).cancel()
    assert asking.get(f"/documents/{written}/overview").status_code == 404
    code = asking.post("/documents", json={"project": written, "type": "api_reference"})
    assert (code.status_code, code.json()["kind"]) == (422, "InvalidDocument")
