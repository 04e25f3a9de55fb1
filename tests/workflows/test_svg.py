from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflows.report import IN_PYTHON
from workflows.definitions import load
from workflows.state import StepStatus
from workflows.step import Approval, WorkflowStep
from workflows.svg import svg
from workflows.workflow import Workflow

SHIPPED = sorted((Path(__file__).parents[2] / "config/workflows").glob("*.yaml"))
NS = "{http://www.w3.org/2000/svg}"


def groups(picture: str, kind: str) -> list[ElementTree.Element]:
    """The boxes (`step`) or arrows (`arrow`) of a picture."""
    found = ElementTree.fromstring(picture).iter(f"{NS}g")
    return [group for group in found if group.get("class", "").split()[0] == kind]


def words(group: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in group.iter(f"{NS}text")]


def test_kinds_arrows_and_marks_are_those_of_the_flowchart() -> None:
    picture = svg(IN_PYTHON)
    boxes = {words(box)[0]: box for box in groups(picture, "step")}
    arrows = {
        (arrow.findtext(f"{NS}title"), (arrow.get("class") or "").split()[1])
        for arrow in groups(picture, "arrow")
    }
    assert set(boxes) == {step.id for step in IN_PYTHON.steps} | {"undo: myproject.tasks.unpublish"}
    assert words(boxes["sections"])[1:] == [
        "agent writer", "for each of steps.outlin…, 4 at a time",
    ]  # fmt: skip
    assert words(boxes["polish"])[-1] == "may fail"
    assert {
        ("outline → sections", "success"),
        ("numbers → cached", "fallback"),
        ("polish → apology", "failure"),
        ("publish → undo publish", "compensate"),
    } <= arrows
    shapes = {name: [each.tag.removeprefix(NS) for each in box] for name, box in boxes.items()}
    assert shapes["outline"][1] == "rect"
    assert shapes["approval"][1] == "polygon"
    # The two lines inside the ends of a workflow's box.
    assert shapes["publish"].count("path") == 2


def test_states_are_colours_and_classes() -> None:
    states = {"outline": StepStatus.SUCCESS, "sections": StepStatus.ERROR}
    drawn = {words(box)[0]: box.get("class") for box in groups(svg(IN_PYTHON, states), "step")}
    assert drawn["outline"] == "step agent success"
    assert drawn["sections"] == "step agent error"
    assert drawn["numbers"] == "step task pending"
    assert svg(IN_PYTHON, states).count("#fbdcd9") == 1


@given(st.text(min_size=1).filter(str.strip))
def test_whatever_is_written_is_drawn_as_text(question: str) -> None:
    if "\0" in question or any("\ud800" <= letter <= "\udfff" for letter in question):
        return
    step = WorkflowStep(id="a", approval=Approval(question=question.replace("{", "(")))
    [box] = groups(svg(Workflow(name="x", steps=[step])), "step")
    assert [each.tag.removeprefix(NS) for each in box] == ["title", "polygon", "text", "text"]
    assert words(box)[1].startswith("approval:")


def test_what_is_cut_stands_in_the_title() -> None:
    long = "word " * 40
    [box] = groups(svg(Workflow(name="x", steps=[WorkflowStep(id="a", plan=long)])), "step")
    assert len(words(box)[1]) <= 38
    assert long.strip() in (box.findtext(f"{NS}title") or "")


def test_wide_letters_have_room() -> None:
    narrow, wide = (svg(load(f"name: x\nsteps: [{{id: a, plan: {10 * each}}}]")) for each in "a報")
    widths = [float(ElementTree.fromstring(each).get("width", "")) for each in (narrow, wide)]
    assert widths[1] > widths[0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_workflows_are_drawn(path: Path) -> None:
    workflow = load(path.read_text(), path.name)
    picture = svg(workflow)
    assert len(groups(picture, "step")) == len(workflow.steps)
    assert len(groups(picture, "arrow")) == len(list(workflow.graph.edges))


def test_the_picture_is_the_same_in_every_process() -> None:
    program = (
        "from tests.workflows.report import IN_PYTHON as w\n"
        "from workflows.svg import svg\nprint(svg(w), end='')"
    )
    for seed in ("1", "2"):
        environ = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed}
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
        )
        assert said.stdout == svg(IN_PYTHON)


def test_fifty_steps_keep_their_words_readable() -> None:
    def needed(n: int) -> str:
        return ", ".join(f"step-{each}" for each in (n - 5, n - n % 5 - 1) if each >= 0)

    steps = "\n".join(
        f"  - {{id: step-{n}, task: chore.echo, args: [1], needs: [{needed(n)}]}}"
        for n in range(50)
    )
    picture = svg(load(f"name: many\nsteps:\n{steps}"))
    assert len(groups(picture, "step")) == 50
    sizes = {each.get("font-size") for each in ElementTree.fromstring(picture).iter()}
    assert sizes <= {None, "10", "12"}
    assert float(ElementTree.fromstring(picture).get("width", "")) < 2000
