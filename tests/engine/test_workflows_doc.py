"""What stands in docs/workflows.md can be loaded and run as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_app.cli.workflow import workflow
from celery_app.client import Client
from celery_app.orchestrator.workflow_files import WorkflowFiles
from tests.worker_process import WorkerProcess
from workflows.definitions import load, schema
from workflows.source import Source

TEXT = (Path(__file__).parents[2] / "docs/workflows.md").read_text()


BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_every_file_in_the_document_is_sound() -> None:
    assert [load(block).name for block in BLOCKS] == [
        "kinds", "order", "repetition", "errors", "greeting", "questions", "reports",
    ]  # fmt: skip


def test_every_name_in_them_exists(tmp_path: Path) -> None:
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"{number}.yaml").write_text(block)
        WorkflowFiles().read(tmp_path / f"{number}.yaml")


def test_every_key_is_in_one_of_the_files() -> None:
    described = schema()
    models = [described, *described["$defs"].values()]
    keys = {key for model in models for key in model.get("properties", ())}
    written = {key for block in BLOCKS for key in keys_of(Source.read(block, "").values)}
    assert sorted(keys - written) == []


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (str(key) for key in value)
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from keys_of(inner)


def test_every_command_is_in_the_table() -> None:
    told = set(re.findall(r"`([a-z]+)\b", TEXT[TEXT.index("## Commands") :]))
    assert sorted(workflow.commands.keys() - told) == []


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("order", {"more": None, "apology": None}),
        ("greeting", {"words": ["Hello Ann", "Hello Ann"]}),
    ],
)
def test_what_needs_no_model_runs(
    client: Client, worker: WorkerProcess, name: str, outputs: dict[str, object]
) -> None:
    [block] = [each for each in BLOCKS if each.startswith(f"name: {name}\n")]
    given = {"name": "Ann"} if name == "greeting" else {}
    assert client.start_workflow(load(block), given).result(timeout=60) == outputs


def test_the_python_runs(client: Client, worker: WorkerProcess) -> None:
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    told: list[object] = []
    exec(code, {"print": told.append})
    assert told == [{"two": 2}, ["success", "success"]]
