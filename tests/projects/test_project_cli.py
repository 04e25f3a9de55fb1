"""Projects on the command line: what is printed, and how mistakes are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from celery_app.cli.main import cli
from celery_app.orchestrator.project_manager import ProjectManager
from tests.projects.conftest import TEXT, Spec

INPUTS = {"notes.md": TEXT}


def project(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["project", *arguments])


def document(*arguments: str) -> Any:
    result = project(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def name(manager: ProjectManager, spec: Spec) -> str:
    """A project that is planned."""
    return manager.create(spec(deadline="2030-01-01T00:00:00Z"), INPUTS).name


def test_show_prints_the_document(name: str) -> None:
    shown = document("show", name)
    assert {"id", "name", "goals", "plan", "timeline", "artifacts", "figures"} <= shown.keys()
    assert [(goal["name"], goal["state"]) for goal in shown["goals"]] == [
        ("facts", "open"),
        ("risks", "open"),
        ("report", "open"),
    ]
    tasks = {task["id"]: task for task in shown["plan"]["tasks"]}
    assert {"facts", "facts/1", "report"} <= tasks.keys()
    assert tasks["report/1"]["needs"] == ["facts", "risks"]
    assert tasks["facts/1"]["estimate"]["seconds"] > 0
    assert [artifact["name"] for artifact in shown["artifacts"]] == ["notes.md"]
    sheet = project("show", name).stdout
    for words in (name, "facts", "notes.md", "half of the courses within"):
        assert words in sheet


def test_list_has_it(name: str) -> None:
    found = {each["name"]: each for each in document("list")}
    assert (found[name]["goals"], found[name]["reached"]) == (3, 0)
    assert name in project("list").stdout


def test_the_timeline_in_four_forms(name: str, tmp_path: Path) -> None:
    drawn = project("timeline", name).stdout
    assert "report is reached" in drawn
    assert "P50" in drawn
    assert "━" in drawn
    diagram = project("timeline", name, "--mermaid").stdout
    assert diagram.startswith("gantt\n")
    assert "section facts" in diagram
    assert "crit, milestone" in diagram
    file = tmp_path / "timeline.svg"
    assert project("timeline", name, "--svg", str(file)).exit_code == 0
    root = ElementTree.fromstring(file.read_text())
    assert root.tag.endswith("svg")
    words = "".join(root.itertext())
    assert "report is reached" in words
    data = document("timeline", name)
    assert data["critical_path"][-1] == "report"
    assert {"slack", "critical", "planned_finish"} <= data["items"][0].keys()
    assert data["likely"]["p50"] <= data["likely"]["p90"]


def test_artifacts_are_listed_printed_and_attached(name: str, tmp_path: Path) -> None:
    table = tmp_path / "prices.csv"
    table.write_text("a,b\n1,2\n")
    assert document("attach", name, str(table))["type"] == "table"
    assert "is kept: table, 8 bytes" in project("attach", name, str(table), "--as", "costs").stdout
    listed = document("artifacts", name)
    assert [each["name"] for each in listed] == ["costs", "prices.csv", "notes.md"]
    assert listed[0]["sha256"] == listed[1]["sha256"]
    assert project("artifact", name, "notes.md").stdout == TEXT
    output = tmp_path / "out"
    assert project("artifact", name, "costs", "--output", str(output)).exit_code == 0
    assert output.read_text() == table.read_text()


def ai_agent(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ai-agent")), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=1500, env={**os.environ, **environ}
    )  # fmt: skip


def test_mistakes_are_told_in_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\ndescription: Bad\ngoals:\n  - {name: a, describe: A}\n")
    for arguments, told in {
        ("show", "nobody"): "error: there is no project 'nobody'",
        ("artifact", name, "nothing"): f"error: {name} has no artifact 'nothing'",
        ("run", name, "--goal", "x"): f"error: project {name} has no goal 'x': it has facts, risks",
        (
            "accept",
            name,
            "facts",
        ): f"error: goal facts of project {name} waits for nobody: it is open",
    }.items():
        done = ai_agent("project", *arguments)
        assert done.stderr.startswith(told), done.stderr
        assert done.stderr.count("\n") == 1
        assert done.returncode == (1 if arguments[0] == "accept" else 2)
    done = ai_agent("project", "plan", str(file))
    assert done.returncode == 2
    assert f"error: {file}:4: goal a: describe is no known key: did you mean" in done.stderr
    assert f"error: {file}:4: goal a: description is missing: add it" in done.stderr
