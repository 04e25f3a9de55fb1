"""Workers die while a document is written: its versions are whole, and nothing is written twice.

With recovery switched off the same death leaves the document unwritten.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from celery_app.errors import LeaseLost, WaitTimeout
from celery_app.handles import TaskHandle
from celery_app.orchestrator.documentation_manager import DocumentationManager
from celery_app.store.records import Claim
from tests.documents.conftest import RIVER, Study
from tests.worker_process import WorkerProcess
from workflows.document import Writing

pytestmark = pytest.mark.chaos

PLACES = [
    "after-section",
    pytest.param("before-document", marks=pytest.mark.faults_long),
    pytest.param("after-document", marks=pytest.mark.faults_long),
    "before-commit",
    pytest.param("after-commit", marks=pytest.mark.faults_long),
    pytest.param("before-publish", marks=pytest.mark.faults_long),
]


def begin(study: Study, manager: DocumentationManager, hosts: str) -> str:
    """Write a first version, then change a source; return the content of the first version."""
    with WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts):
        content = manager.generate(study.name, "overview", timeout=60).content
    study.change("river.md", RIVER.replace("nine", "eleven"))
    study.reach("animals", "There are bees in four hives. Trout live below the mill.")
    return content


def doomed(hosts: str, place: str, tmp_path: Path, **more: str) -> WorkerProcess:
    return WorkerProcess(
        AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts,
        AI_AGENT_CRASH_AT=f"{place}:{tmp_path / 'died'}",
        **more,
    )


def assert_nothing_doubled(writing: Writing) -> None:
    from celery_app.celery import database, store

    ends = Counter(
        event["task_id"] for event in store.events(str(writing.run)) if event["kind"] == "succeeded"
    )
    assert set(ends.values()) == {1}
    calls: Any = database.rows(
        """
        SELECT c.task_id, count(*) AS n FROM model_call c JOIN task t ON t.id = c.task_id
         WHERE t.root_id = :id GROUP BY c.task_id
        """,
        id=str(writing.run),
    )
    assert {int(row.n) for row in calls} == {1}


@pytest.mark.parametrize("place", PLACES)
def test_a_worker_dies_and_the_next_one_writes_on(
    study: Study, manager: DocumentationManager, hosts: str, tmp_path: Path, place: str
) -> None:
    first = begin(study, manager, hosts)
    with doomed(hosts, place, tmp_path) as worker:
        writing = manager.start(study.name, "overview")
        assert worker.wait(timeout=60) == -9
    assert manager.get(study.name, "overview", 1).content == first
    with WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts):
        assert writing.run is not None
        TaskHandle(writing.run).result(timeout=60)
    versions = manager.versions(study.name, "overview")
    assert [(each.version, each.holds) for each in versions] == [(2, True), (1, False)]
    second = manager.get(study.name, "overview")
    assert "## Result of animals\n" in second.content
    assert set(writing.written) == {"intro", "goals", "input:river.md", "result:animals"}
    assert manager.get(study.name, "overview", 1).content == first
    assert not manager.check(study.name, "overview").changes
    assert_nothing_doubled(writing)


@pytest.mark.parametrize(
    "place", ["after-section", pytest.param("after-document", marks=pytest.mark.faults_long)]
)
def test_without_recovery_the_same_death_leaves_it_unwritten(
    study: Study, manager: DocumentationManager, hosts: str, tmp_path: Path, place: str
) -> None:
    first = begin(study, manager, hosts)
    off = {"AI_AGENT__RECOVERY__ENABLED": "false"}
    with doomed(hosts, place, tmp_path, **off) as worker:
        writing = manager.start(study.name, "overview")
        assert worker.wait(timeout=60) == -9
    assert writing.run is not None
    with (
        WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=hosts, **off),
        pytest.raises(WaitTimeout),
    ):
        TaskHandle(writing.run).result(timeout=8)
    TaskHandle(writing.run).cancel()
    assert manager.get(study.name, "overview", 1).content == first


def test_whoever_was_fenced_out_stores_nothing(
    study: Study, manager: DocumentationManager, hosts: str
) -> None:
    begin(study, manager, hosts)
    document = manager.get(study.name, "overview")
    other = document.model_copy(update={"content": "# Another\n"})
    task = str(document.metadata.run)
    late = Claim(
        id=task, fence=1, attempt=1, tries=0, root_id=task, parent_id=None, agent=None, budgets=(),
        seconds_left=None, spec={},
    )  # fmt: skip
    with pytest.raises(LeaseLost, match="is no longer ours: its document is not stored"):
        manager.docs_storage.store(other, late)
    assert manager.get(study.name, "overview").content == document.content
