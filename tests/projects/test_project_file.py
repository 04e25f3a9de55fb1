"""Projects as YAML: whatever stands in a file, each mistake is told with its line and its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_app.project_handle import read_project
from workflows.errors import InvalidProject, InvalidTask
from workflows.project import ProjectSpec
from workflows.project_file import load

GOOD = """\
name: study
description: A study
inputs: [notes.md]
goals:
  - name: facts
    description: List facts
    acceptance:
      - min_words: 5
  - name: report
    description: Write it
    needs: [facts]
deadline: "2030-01-01T00:00:00Z"
"""


def test_a_file_becomes_a_spec() -> None:
    spec = load(GOOD, "study.yaml")
    assert spec.order() == ("facts", "report")
    assert str(spec.goals[0].acceptance[0]) == "min_words 5"
    assert ProjectSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: study", "name: My Study", r":1: name is 'My Study': write small letters, digits and"),
        ("description: A study\n", "", r":1: description is missing: add it"),
        ("goals:", "gaols:", r":4: gaols is no known key: did you mean 'goals'\?"),
        ("    needs: [facts]", "    need: [facts]", r":11: goal report: need is no known key: did you"),
        ("needs: [facts]", "needs: [fact]", r"depends on fact, which is not in the graph"),
        ("needs: [facts]", "needs: [report]", r"in a circle, report -> report"),
        ("needs: [facts]", "inputs: [other.md]", r"goal report takes the input other\.md, which"),
        ("name: report", "name: facts", r"two goals or inputs are called facts: rename one"),
        ("min_words: 5", "min_words: many", r":8: goal facts: acceptance\.min_words is 'many': write"),
        ("min_words: 5", "matches: '['", r":8: goal facts: acceptance\.matches is '\[': it is no reg"),
        ("min_words: 5", "{min_words: 5, max_words: 9}", r":8: goal facts: acceptance: give exactly"),
        ("2030-01-01T00:00:00Z", "soon", r":12: deadline is 'soon': "),
        ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00", r":12: deadline is .* timezone"),
        ("needs: [facts]", "estimate: long", r":11: goal report: estimate is 'long': write a dur"),
        ("name: study", "name: [", r"this is not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(InvalidProject) as refused:
        load(GOOD.replace(old, new), "study.yaml")
    assert re.search(told, str(refused.value)), str(refused.value)
    assert all(str(each).startswith("study.yaml:") for each in refused.value.problems)


def test_all_mistakes_are_told_in_the_order_of_lines() -> None:
    text = GOOD.replace("name: facts", "name: F").replace("description: Write it", "descr: Write")
    with pytest.raises(InvalidProject) as refused:
        load(text, "study.yaml")
    lines = [problem.line for problem in refused.value.problems]
    assert lines == sorted(lines)
    assert len(lines) == 3


@given(st.text(max_size=200))
def test_any_text_is_a_project_or_is_refused(text: str) -> None:
    try:
        load(text)
    except InvalidProject as refused:
        assert refused.problems


def test_inputs_stand_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(GOOD)
    with pytest.raises(InvalidTask, match=r"input .*notes\.md cannot be read"):
        read_project(file)
    (tmp_path / "notes.md").write_text("Cats sleep.")
    spec, inputs = read_project(file)
    assert (spec.name, inputs) == ("study", {"notes.md": "Cats sleep."})
    with pytest.raises(InvalidProject, match=r"none\.yaml cannot be read"):
        read_project(tmp_path / "none.yaml")
