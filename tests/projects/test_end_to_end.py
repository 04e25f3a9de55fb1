"""A project of three goals from a YAML file, on the embedded model, through the command line."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.projects.test_project_cli import ai_agent

SPEC = """\
name: pets
description: Two notes about pets
inputs: [cats.md, dogs.md]
goals:
  - name: overview
    description: Summarise the parts of these notes and bring them together
    acceptance: [{min_words: 3}]
    inputs: [cats.md, dogs.md]
  - name: figures
    description: List the numbers in this note
    acceptance: [{matches: "[0-9]"}]
    inputs: [dogs.md]
  - name: report
    description: Correct this note
    inputs: [cats.md]
    needs: [overview, figures]
deadline: "2090-01-01T00:00:00Z"
"""


@pytest.fixture
def home() -> Iterator[str]:
    """A home of its own, whose servers and worker end with the test."""
    with tempfile.TemporaryDirectory(prefix="pets-") as folder:
        yield folder
        ai_agent("down", AI_AGENT_HOME=folder)


@pytest.mark.model
@pytest.mark.timeout(1800)
def test_three_goals_are_planned_reached_and_planned_again_where_they_change(
    tmp_path: Path, home: str
) -> None:
    def call(*arguments: str) -> CompletedProcess[str]:
        return ai_agent("project", *arguments, AI_AGENT_HOME=home)

    file = tmp_path / "pets.yaml"
    file.write_text(SPEC)
    (tmp_path / "cats.md").write_text("Cats sleep for 15 hours a day.\n")
    (tmp_path / "dogs.md").write_text("Dogs bark 20 times a night.\n")
    made = call("create", str(file), "--json")
    assert made.returncode == 0, made.stderr
    project = json.loads(made.stdout)
    assert project["plan"]["goals"].keys() == {"overview", "figures", "report"}
    assert project["timeline"]["critical_path"][-1] == "report"
    assert made.stderr.count("is planned") == 3

    worked = call("run", "pets")
    assert worked.returncode == 0, worked.stderr
    shown = json.loads(call("show", "pets", "--json").stdout)
    assert [goal["state"] for goal in shown["goals"]] == ["reached"] * 3
    assert {a["name"] for a in shown["artifacts"]} == {
        "cats.md", "dogs.md", "overview", "figures", "report",
    }  # fmt: skip
    assert {item["standing"] for item in shown["timeline"]["items"]} == {"done"}
    assert shown["figures"]["calls"] > 0
    assert "20" in call("artifact", "pets", "figures").stdout

    file.write_text(SPEC.replace("List the numbers", "Find the numbers"))
    again = call("plan", str(file), "--json")
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stderr.splitlines() if "is planned" in line] == [
        line for line in again.stderr.splitlines() if "goal figures is planned" in line
    ]
    changed = json.loads(again.stdout)
    assert changed["plan"]["goals"]["overview"] == shown["plan"]["goals"]["overview"]
    assert [goal["state"] for goal in changed["goals"]] == ["reached", "open", "open"]
