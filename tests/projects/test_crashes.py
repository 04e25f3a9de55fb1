"""A worker is killed while it keeps the result of a goal; the next one ends it, and one artifact is there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from celery_app.celery import artifacts
from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.orchestrator.project_manager import ProjectManager
from tests.leftovers import begin_anew, cancel_leftovers
from tests.projects.conftest import Spec
from tests.worker_process import WorkerProcess
from workflows.artifact import ProjectArtifact

pytestmark = pytest.mark.chaos


@pytest.fixture(autouse=True, scope="module")
def _unknown(client: Client) -> None:
    """No artifact is there yet: one of the same content would be taken instead."""
    cancel_leftovers(client)
    begin_anew()


def kept_after(
    manager: ProjectManager,
    spec: Spec,
    place: str,
    marker: Path,
    talking: dict[str, str],
    app: str = "celery_app",
) -> list[ProjectArtifact]:
    """Run a project under a worker that dies at a place, and under the next one; return what is kept."""
    goals = [{"name": "facts", "description": "List facts", "acceptance": [{"contains": "it is"}]}]
    project = manager.create(spec(goals=goals, inputs=[]))
    # One byte stands in Postgres: every result is a file.
    settings = {
        **talking,
        "AI_AGENT__ARTIFACTS__INLINE": "1",
        "AI_AGENT_CRASH_AT": f"{place}:{marker}",
    }
    with WorkerProcess(app=app, **settings) as doomed:
        handle = TaskHandle(manager.run(project.name))
        assert doomed.wait(timeout=60) == -9
    with WorkerProcess(app=app, **settings):
        handle.result(timeout=60)
    found = manager.get(project.name)
    assert found.standing("facts").state == "reached"
    return [each for each in found.artifacts if each.name == "facts"]


@pytest.mark.parametrize(
    "place",
    [
        "after-artifact-file",
        pytest.param("after-artifact", marks=pytest.mark.faults_long),
        "before-commit",
    ],
)
def test_one_artifact_is_kept_whole(
    client: Client, manager: ProjectManager, spec: Spec, talking: dict[str, str], tmp_path: Path, place: str
) -> None:  # fmt: skip
    before = set(artifacts.folder.iterdir()) if artifacts.folder.is_dir() else set()
    (kept,) = kept_after(manager, spec, place, tmp_path / "died", talking)
    assert b"It is so." in artifacts.read(kept)
    written = set(artifacts.folder.iterdir()) - before
    # The same content may have been there before; what the dead one left is swept.
    old = time.time() - 7200
    for file in written:
        os.utime(file, (old, old))
    artifacts.sweep()
    assert b"It is so." in artifacts.read(kept)
    left = set(artifacts.folder.iterdir()) - before
    known = {row.file for row in artifacts.database.rows("SELECT file FROM content")}
    assert {file.name for file in left} <= known
    if place == "after-artifact-file":
        assert len(written) > len(left), "the dead one left a file"


def test_without_the_guard_there_would_be_two(
    client: Client, manager: ProjectManager, spec: Spec, talking: dict[str, str], tmp_path: Path
) -> None:
    kept = kept_after(
        manager, spec, "after-artifact", tmp_path / "died", talking, app="tests.projects.weak_app"
    )
    assert len(kept) == 2
