"""A document on the model that comes with the system: it chooses, and the document says nothing else."""

from __future__ import annotations

import pytest

from celery_app.orchestrator.documentation_manager import DocumentationManager
from tests.documents.conftest import BEES, Study
from tests.worker_process import WorkerProcess


@pytest.mark.model
@pytest.mark.timeout(400)
def test_the_embedded_model_chooses_what_matters(
    manager: DocumentationManager, study: Study
) -> None:
    with WorkerProcess():
        document = manager.generate(study.name, "readme", timeout=350)
    content = document.content.split("\n\n")
    said = content[content.index("## In short") + 1]
    assert said.rstrip(".").split(". ")
    assert all(part.strip(". ") in " ".join(BEES.split()) for part in said.split(". "))
    told = [each for each in document.metadata.paragraphs if each.section == "in-short"]
    assert [each.agent for each in told] == ["writer"]
