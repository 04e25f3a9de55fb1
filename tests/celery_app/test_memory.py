"""A task that takes more memory than it may fails, with its reason; its worker goes on."""

from __future__ import annotations

import sys
from typing import Any
from uuid import uuid4

import pytest

from celery_app.client import Client
from celery_app.errors import TaskFailed
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system has no such limit")


def hoard(client: Client, megabytes: int, **resources: Any) -> Any:
    """Run a task that takes so much memory; return its result."""
    task: dict[str, Any] = {"id": str(uuid4()), "task": "own.hoard", "args": [megabytes]}
    task["resource_requirements"] = resources
    return client.submit_graph([task]).result(timeout=30)[task["id"]]


def test_a_child_is_held_to_what_its_task_said(client: Client) -> None:
    with WorkerProcess("-P", "prefork", "-c", "1") as worker:
        with pytest.raises(TaskFailed, match="needed more than 64Mi of memory"):
            hoard(client, 300, memory="64Mi")
        assert hoard(client, 300, memory="512Mi") == 300 * 2**20, "the child lives on"
        assert hoard(client, 300) == 300 * 2**20
        with pytest.raises(TaskFailed, match="needed more than 1Gi of memory"):
            hoard(client, 1500)
        assert "exited" not in worker.text()


def test_threads_share_one_ceiling(client: Client) -> None:
    limit = {"AI_AGENT__RESOURCES__MEMORY__TOTAL_LIMIT": "1Gi"}
    with WorkerProcess("-P", "threads", "-c", "2", **limit):
        with pytest.raises(TaskFailed, match="no more memory to give"):
            hoard(client, 2000)
        assert hoard(client, 100) == 100 * 2**20
