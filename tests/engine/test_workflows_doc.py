"""What stands in docs/workflows.md can be loaded and run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from celery_app.client import Client
from tests.worker_process import WorkerProcess
from workflows.definitions import load

TEXT = (Path(__file__).parents[2] / "docs/workflows.md").read_text()


def test_every_file_in_the_document_is_sound() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert [load(block).name for block in blocks] == ["kinds", "greeting", "reports"]


def test_the_python_runs(client: Client, worker: WorkerProcess) -> None:
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    told: list[object] = []
    exec(code, {"print": told.append})
    assert told == [{"two": 2}, ["success", "success"]]
