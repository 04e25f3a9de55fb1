from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.workflows.report import IN_PYTHON
from workflows.drawing import mermaid
from workflows.step import Approval, WorkflowStep
from workflows.workflow import Workflow


def test_kinds_edges_and_marks_are_drawn() -> None:
    lines = [line.strip() for line in mermaid(IN_PYTHON).splitlines()]

    assert lines[0] == "flowchart TD"
    assert lines[1] == 's0(["<b>outline</b><br/>agent planner"])'
    assert 's3["<b>cached</b><br/>task myproject.tasks.cached_numbers"]' in lines
    assert 's4{"<b>approval</b><br/>approval: Publish?"}' in lines
    assert any(
        line.startswith('s5[["<b>publish</b><br/>workflow publish-report<br/>when')
        for line in lines
    )
    assert any("for each of" in line and "4 at a time" in line for line in lines)
    assert any("until" in line and "5 times at most<br/>may fail" in line for line in lines)
    assert {
        "s0 --> s1",
        "s2 -. fallback .-> s3",
        "s1 --> s4",
        "s2 --> s4",
        "s6 -. on failure .-> s7",
        's5undo["undo: myproject.tasks.unpublish"]',
        "s5 -. compensate .-> s5undo",
    } <= set(lines)
    assert not any(line.endswith("--> s2") for line in lines)


@given(st.text(min_size=1).filter(str.strip))
def test_whatever_is_written_is_drawn_as_text(question: str) -> None:
    if "\0" in question or any("\ud800" <= letter <= "\udfff" for letter in question):
        return
    approval = Approval(question=question.replace("{", "("))
    workflow = Workflow(name="x", steps=[WorkflowStep(id="a", approval=approval)])

    drawn = mermaid(workflow).splitlines()

    assert len(drawn) == 2
    inside = re.fullmatch(r'    s0\{"<b>a</b><br/>approval: ?(.*)"\}', drawn[1])
    assert inside is not None
    assert not set('"<>{}[]()|`\\&') & set(inside[1])


def test_long_texts_are_cut() -> None:
    step = WorkflowStep(id="a", plan="word " * 100)

    assert len(mermaid(Workflow(name="x", steps=[step]))) < 150
