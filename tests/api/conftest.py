"""The API of this process, and whoever asks it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from agents.scripted import ScriptedModel
from agents.writer import document_id
from celery_app import celery
from celery_app.celery import access, database, documents
from celery_app.client import Client
from celery_app.observe.alert_desk import AlertDesk
from celery_app.orchestrator.project_manager import ProjectManager
from tests.api.serving import Served
from workflows.document import Document, DocumentationType, DocumentMetadata


@pytest.fixture(scope="module")
def served(client: Client) -> Iterator[Served]:
    """The API, for the tests of one module; the plans of projects are asked of a script."""
    with Served() as served:
        desk = served.app.state.desks.of_user(celery.guard_of_user().name)
        model = ScriptedModel(rules=[lambda _: "no plan at all"])
        desk.project_manager = ProjectManager(desk.permissions, model)
        yield served


@pytest.fixture(scope="module")
def asking(served: Served) -> Iterator[httpx.Client]:
    """The user of this machine, with no token."""
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as asking:
        yield asking


@pytest.fixture(scope="module")
def remote(served: Served) -> Client:
    """A client over HTTP."""
    return Client(url=served.url)


def project_wish(name: str) -> dict[str, Any]:
    """Return what creates a project."""
    goals = [
        {
            "name": "facts",
            "description": "Summarise the parts",
            "acceptance": [{"person": "Good?"}],
        },
        {"name": "report", "description": "Write a report about pets", "needs": ["facts"]},
    ]
    spec = {"name": name, "description": "Pets", "inputs": ["in/notes.md"], "goals": goals}
    return {"project": spec, "inputs": {"in/notes.md": "# Cats\nCats sleep all day."}}


@pytest.fixture(scope="module")
def project(asking: httpx.Client) -> Iterator[str]:
    """A project that was planned; its run is ended."""
    name = f"pets-{uuid4().hex[:6]}"
    response = asking.post("/projects", json=project_wish(name))
    assert response.status_code == 201, response.text
    yield name
    for run in asking.get(f"/projects/{name}").json()["runs"]:
        asking.post(f"/tasks/{run}/cancel")


@pytest.fixture(scope="module")
def written(client: Client, project: str) -> str:
    """The name of a project that has a README in two versions."""
    found = client.project(project).get()
    for content in ("# Pets\n\nCats.\n", "# Pets\n\nDogs.\n"):
        paper = Document(
            id=document_id(found.id, DocumentationType.README),
            type=DocumentationType.README,
            content=content,
            metadata=DocumentMetadata(
                project=project,
                title="Pets",
                agent="writer",
                sha256=hashlib.sha256(content.encode()).hexdigest(),
                sections={},
                paragraphs=[],
                sources={"facts:goals": "0" * 64},
            ),
        )
        documents.open(paper.id, found.id, paper.type)
        documents.store(paper)
    return project


@pytest.fixture
def silence(client: Client) -> int:
    """A silence."""
    return AlertDesk().silence("errors", 60)


@pytest.fixture(scope="module")
def stranger(client: Client) -> Iterator[str]:
    """A token that the policy allows nothing."""
    name = f"stranger-{uuid4().hex[:6]}"
    yield access.create(name)[1]
    database.rows("DELETE FROM token WHERE name = :name", name=name)
