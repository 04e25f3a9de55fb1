"""A project with inputs and results, planned by rules, and what its documents took to write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from agents.scripted import ScriptedModel
from celery_app.client import Client
from celery_app.orchestrator.documentation_manager import DocumentationManager
from celery_app.orchestrator.project_manager import ProjectManager
from tests.faults.model import AnsweringModel
from tests.worker_process import WorkerProcess
from workflows.artifact import ArtifactType
from workflows.document import Writing
from workflows.project import Project, ProjectSpec

BEES = """# Bees

The garden has four hives of honey bees. Each hive gave about twelve kilograms of honey in July.
The hives stand behind the old barn, where the wind is weak. A visitor may look at them on Sundays.
"""
RIVER = """# River

The river is nine kilometres long. Its water was clean at all three places in May.
Trout were seen below the mill. The bridge at the mill is closed until October.
"""


def choose_first(body: dict[str, Any]) -> str:
    """Choose the first of the sentences that an answer may be, as a model would that answers at once."""
    choices = body["format"]["properties"]
    return json.dumps({number: each["enum"][0] for number, each in choices.items()})


@pytest.fixture(scope="module")
def hosts() -> Iterator[str]:
    """A model server that chooses at once."""
    with AnsweringModel(0, choose_first) as model:
        yield f"[{model.address}]"


@pytest.fixture(scope="module")
def worker(client: Client, hosts: str) -> Iterator[WorkerProcess]:
    """A worker that asks it."""
    with WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts) as process:
        yield process


@dataclass
class Study:
    """A project of a test, and what can be done to it."""

    name: str
    manager: ProjectManager
    texts: dict[str, str]

    def project(self) -> Project:
        return self.manager.get(self.name)

    def change(self, name: str, text: str) -> None:
        """Give the project another text in the place of one of its inputs."""
        self.texts[name] = text
        self.manager.change(self.project().spec, self.texts)

    def reach(self, goal: str, result: str) -> None:
        """Let a goal be reached, as its run does."""
        from celery_app.celery import artifacts, projects

        project, run, end = self.project(), str(uuid4()), str(uuid4())
        projects.begin(project, run, {goal: end})
        artifacts.put(self.name, goal, result.encode(), ArtifactType.TEXT, run=run, task=end)
        assert projects.close(str(project.id), goal, run, "reached", {"contains": True})


@pytest.fixture
def study(client: Client) -> Study:
    """A project of two inputs and two goals, with a name of its own."""
    name = f"garden-{uuid4().hex[:8]}"
    manager = ProjectManager(model=ScriptedModel(rules=[lambda _: "no plan at all"]))
    spec = ProjectSpec.model_validate(
        {
            "name": name,
            "description": "What grows and lives between the barn and the mill.",
            "inputs": ["bees.md", "river.md"],
            "goals": [
                {"name": "animals", "description": "Sum up which animals there are"},
                {"name": "report", "description": "Write a report", "needs": ["animals"]},
            ],
        }
    )
    texts = {"bees.md": BEES, "river.md": RIVER}
    manager.create(spec, texts)
    return Study(name, manager, texts)


@pytest.fixture
def manager(client: Client) -> DocumentationManager:
    """What writes documents."""
    return DocumentationManager(client.permissions)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A small package of code."""
    folder = tmp_path / "mill"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A mill that grinds corn."""\n')
    (folder / "wheel.py").write_text(
        '"""The wheel turns the stones of the mill."""\n\n\n'
        'def turn(times: int = 1) -> int:\n    """Turn the wheel."""\n    return times\n'
    )
    (folder / "stone.py").write_text(
        '"""Stones grind what falls between them."""\n\nfrom mill.wheel import turn\n\n\n'
        'class Stone:\n    """One stone."""\n\n'
        '    def grind(self, corn: str) -> str:\n        """Return the flour."""\n'
        "        return corn * turn()\n"
    )
    (folder / "notes.md").write_text(
        "# Notes\n\nThe mill was built of oak. It stands by the river.\n"
    )
    return folder


Written = Callable[[Writing | UUID | None], dict[str, int]]


@pytest.fixture
def written(client: Client) -> Written:
    """Tells which sections a run wrote, each with how many model calls that took."""
    from celery_app.celery import database, store

    def look(run: Writing | UUID | None) -> dict[str, int]:
        run_id = run.run if isinstance(run, Writing) else run
        if run_id is None:
            return {}
        found = {}
        for record in store.children(str(run_id)):
            if record.name == "document.section":
                calls = database.row(
                    "SELECT count(*) AS n FROM model_call WHERE task_id = :id", id=record.id
                )
                found[record.spec["kwargs"]["section"]["id"]] = int(calls.n)
        return found

    return look
