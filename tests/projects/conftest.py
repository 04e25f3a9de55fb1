"""A manager whose plans are asked of a script that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from agents.scripted import ScriptedModel
from celery_app.client import Client
from celery_app.orchestrator.project_manager import ProjectManager
from tests.faults.model import AnsweringModel
from tests.worker_process import WorkerProcess
from workflows.project import ProjectSpec

ROOT = Path(__file__).parents[2]
TEXT = "# Notes\n\n## Cats\nCats sleep all day.\n\n## Dogs\nDogs bark at night.\n"


@pytest.fixture
def model() -> ScriptedModel:
    """A model that gives no plan that can be used, so that the rules plan after four calls."""
    return ScriptedModel(rules=[lambda _: "no plan at all"])


@pytest.fixture
def manager(client: Client, model: ScriptedModel) -> ProjectManager:
    """A manager that asks the script."""
    return ProjectManager(model=model)


@pytest.fixture(scope="module")
def answering() -> Iterator[AnsweringModel]:
    """The model that agents ask."""
    with AnsweringModel(seconds=0) as found:
        yield found


@pytest.fixture(scope="module")
def talking(answering: AnsweringModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a worker is told so that its agents ask that model, and take its one sentence for an answer."""
    roster = (ROOT / "config" / "agents.yaml").read_text()
    file = tmp_path_factory.mktemp("agents") / "agents.yaml"
    file.write_text(roster.replace("quotes: true", "").replace("joins: assemble", "joins: rewrite"))
    return {
        "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": f"[{answering.address}]",
        "AI_AGENT__AGENTS_FILE": str(file),
    }


@pytest.fixture(scope="module")
def at_work(client: Client, talking: dict[str, str]) -> Iterator[WorkerProcess]:
    """A worker whose agents do so."""
    with WorkerProcess(**talking) as process:
        yield process


Spec = Callable[..., ProjectSpec]


@pytest.fixture
def spec() -> Spec:
    """Makes specs of three goals, of a project with a name of its own."""
    name = f"study-{uuid4().hex[:8]}"

    def make(**changed: object) -> ProjectSpec:
        goals = [
            {"name": "facts", "description": "Summarise the parts and bring them together"},
            {"name": "risks", "description": "List the risks of keeping pets"},
            {
                "name": "report",
                "description": "Write a report about pets",
                "needs": ["facts", "risks"],
            },
        ]
        return ProjectSpec.model_validate(
            {
                "name": name,
                "description": "A study of pets",
                "inputs": ["notes.md"],
                "goals": goals,
                **changed,
            }
        )

    return make
