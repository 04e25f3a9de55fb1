"""A manager whose plans are asked of a script that counts."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from agents.scripted import ScriptedModel
from celery_app.client import Client
from celery_app.orchestrator.project_manager import ProjectManager
from workflows.project import ProjectSpec

TEXT = "# Notes\n\n## Cats\nCats sleep all day.\n\n## Dogs\nDogs bark at night.\n"


@pytest.fixture
def model() -> ScriptedModel:
    """A model that gives no plan that can be used, so that the rules plan after four calls."""
    return ScriptedModel(rules=[lambda _: "no plan at all"])


@pytest.fixture
def manager(client: Client, model: ScriptedModel) -> ProjectManager:
    """A manager that asks the script."""
    return ProjectManager(model=model)


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
