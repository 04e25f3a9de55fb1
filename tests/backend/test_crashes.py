"""A worker dies while it publishes a chord's body; the next one's bootstep does what is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import celery.exceptions
import pytest
from celery import Celery, chord

from tests.backend.conftest import task
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.chaos


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """The line at which the worker dies."""
    return str(request.param)


def run_until_death(
    app: Celery, environment: dict[str, str], place: str, tmp_path: Path
) -> tuple[Any, Path]:
    """Start a chord whose worker dies at a place; return the body's result and its notes."""
    notes = tmp_path / "notes"
    with WorkerProcess(
        *("-P", "solo"),
        app="tests.backend.project_app",
        AI_AGENT_CRASH_AT=f"{place}:{tmp_path / 'died'}",
        **environment,
    ) as doomed:
        parts = [task(app, "add").s(number) for number in range(4)]
        answer = chord(parts, task(app, "note").s(path=str(notes))).apply_async()
        assert doomed.wait(timeout=30) == -9
    return answer, notes


def environment_of(urls: tuple[str, str], queue: str, interval: float) -> dict[str, str]:
    """Return what a worker of the project is told."""
    options = {"publish_interval": interval, "publish_grace": 1}
    return {
        "FOREIGN_BROKER": urls[0],
        "FOREIGN_BACKEND": urls[1],
        "FOREIGN_QUEUE": queue,
        "FOREIGN_OPTIONS": json.dumps({"result_backend_transport_options": options}),
    }


@pytest.mark.parametrize("place", ["chord-ready", "chord-sent"], indirect=True)
def test_the_next_worker_publishes_the_body(
    project: Callable[..., Celery], urls: tuple[str, str], tmp_path: Path, place: str
) -> None:
    queue = f"crash-{uuid4().hex[:8]}"
    app = project(queue)
    environment = environment_of(urls, queue, interval=0.5)
    answer, notes = run_until_death(app, environment, place, tmp_path)
    with WorkerProcess("-P", "solo", app="tests.backend.project_app", **environment):
        assert answer.get(timeout=30) == [0, 1, 2, 3]
    calls = notes.read_text().splitlines()
    assert set(calls) == {"[0, 1, 2, 3]"}
    # A body that was sent and not noted as sent is sent again: at least once, never less.
    assert len(calls) == 1 or place == "chord-sent"


def test_without_the_bootsteps_look_the_body_is_lost(
    project: Callable[..., Celery], urls: tuple[str, str], tmp_path: Path
) -> None:
    """The control: the same death, and nobody looks."""
    queue = f"crash-{uuid4().hex[:8]}"
    app = project(queue)
    environment = environment_of(urls, queue, interval=3600)
    answer, _ = run_until_death(app, environment, "chord-ready", tmp_path)
    with (
        WorkerProcess("-P", "solo", app="tests.backend.project_app", **environment),
        pytest.raises(celery.exceptions.TimeoutError),
    ):
        answer.get(timeout=5)
