"""A project of three goals from a YAML file, on the embedded model, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.projects.test_project_cli import ai_agent

SPEC = """\
name: pets
description: Two notes about pets
inputs: [notes.md]
goals:
  - name: overview
    description: Summarise the parts of this document and bring them together
    acceptance: [{min_words: 3}]
  - name: figures
    description: List the numbers in each part of this document
    acceptance: [{matches: "[0-9]"}]
    inputs: [notes.md]
  - name: report
    description: Translate and correct the parts of this document
    inputs: [notes.md]
    needs: [overview, figures]
deadline: "2090-01-01T00:00:00Z"
"""
NOTES = "# Pets\n\n## Cats\n\nCats sleep for 15 hours a day.\n\n## Dogs\n\nDogs bark 20 times a night.\n"


@pytest.mark.model
@pytest.mark.timeout(1800)
def test_three_goals_are_planned_reached_and_planned_again_where_they_change(
    tmp_path: Path,
) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text(SPEC)
    (tmp_path / "notes.md").write_text(NOTES)
    made = ai_agent("project", "create", str(file), "--json")
    assert made.returncode == 0, made.stderr
    project = json.loads(made.stdout)
    assert project["plan"]["goals"].keys() == {"overview", "figures", "report"}
    assert project["timeline"]["critical_path"][-1] == "report"
    assert made.stderr.count("is planned") == 3

    worked = ai_agent("project", "run", "pets")
    assert worked.returncode == 0, worked.stderr
    shown = json.loads(ai_agent("project", "show", "pets", "--json").stdout)
    assert [goal["state"] for goal in shown["goals"]] == ["reached"] * 3
    assert {a["name"] for a in shown["artifacts"]} == {"notes.md", "overview", "figures", "report"}
    assert {item["standing"] for item in shown["timeline"]["items"]} == {"done"}
    assert shown["figures"]["calls"] > 0
    assert "15" in ai_agent("project", "artifact", "pets", "figures").stdout

    file.write_text(SPEC.replace("List the numbers", "Find the numbers"))
    again = ai_agent("project", "plan", str(file), "--json")
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stderr.splitlines() if "is planned" in line] == [
        line for line in again.stderr.splitlines() if "goal figures is planned" in line
    ]
    changed = json.loads(again.stdout)
    assert changed["plan"]["goals"]["overview"] == shown["plan"]["goals"]["overview"]
    assert [goal["state"] for goal in changed["goals"]] == ["reached", "open", "open"]
