"""The shipped suites replay without a model, and what the document shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from celery_app.testing.framework import AgentTestFramework
from celery_app.testing.reading import read_suite
from celery_app.testing.results import TestResults

ROOT = Path(__file__).parents[2]
SHIPPED = [
    pytest.param(path, marks=[pytest.mark.long] if path.name.startswith("workflows") else [])
    for path in sorted((ROOT / "config" / "suites").glob("*.agenttest.yaml"))
]
TEXT = (ROOT / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"```yaml\n(name: (\w+)\n.*?)```", TEXT, re.DOTALL)


def told(results: TestResults) -> list[str]:
    return [str(error) for result in results.results for error in result.errors]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name.split(".")[0])
def test_the_shipped_suites_replay_without_a_model(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody answers there.
    monkeypatch.setenv("AI_AGENT__COMPONENTS__OLLAMA__HOSTS", "[127.0.0.1:9]")
    monkeypatch.chdir(ROOT)
    results = AgentTestFramework(mode="replay").run(read_suite(path))
    assert results.passed, told(results)
    assert not results.stale


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("text", "name"), BLOCKS, ids=[name for _, name in BLOCKS])
def test_the_suites_of_the_document(
    text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / f"{name}.agenttest.yaml"
    path.write_text(text)
    results = AgentTestFramework().run(read_suite(path))
    assert results.passed, told(results)


@pytest.mark.timeout(300)
def test_the_program_of_the_document(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    (tmp_path / "program.py").write_text(found[1])
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("True {'seconds': "), done.stdout + done.stderr
