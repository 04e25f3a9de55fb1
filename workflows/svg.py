"""A workflow as an SVG picture, in the layers that its steps' needs make.

Shapes, arrows and marks mean what they mean in `workflows.drawing`; with the states of a run, colours
tell how it stands.

Invariant: the same workflow gives the same picture, and whatever stands in ids, questions and
expressions is shown as text. What is cut is whole in the title of its box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from workflows.drawing import arrow_of, marks_of, undo_of, work_of
from workflows.picture import Box, Look, cut, draw, plain
from workflows.state import StepStatus
from workflows.step import WorkflowStep
from workflows.workflow import Workflow

__all__ = ["drawn", "svg"]

_LONGEST = 38
_LONGEST_TITLE = 500
_BRACES = re.compile(r"\{\{ ?(.*?) ?\}\}")


def svg(workflow: Workflow, states: Mapping[str, StepStatus] | None = None) -> str:
    """Return the picture as the text of an SVG document; `states` are those of a run's steps."""
    picture = drawn(workflow, {step: Look(state) for step, state in (states or {}).items()})
    ElementTree.indent(picture)
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


def drawn(workflow: Workflow, looks: Mapping[str, Look]) -> ElementTree.Element:
    """Return the picture as an element; `looks` say how the steps of a run stand."""
    return draw(workflow.name, dict(_boxes(workflow, looks)), dict(_arrows(workflow)))


def _boxes(workflow: Workflow, looks: Mapping[str, Look]) -> Iterator[tuple[str, Box]]:
    for step in workflow.steps:
        words = [(step.id, ""), (work_of(step), ""), *marks_of(step)]
        lines = tuple(cut(_bare(text), _LONGEST - len(end)) + end for text, end in words)
        whole = "\n".join(cut(plain(text), _LONGEST_TITLE) + end for text, end in words)
        yield step.id, Box(step.kind, lines, whole, looks.get(step.id, Look()))
        if (undo := undo_of(step)) is not None:
            yield _undo(step), Box("task", (cut(plain(undo), _LONGEST),), plain(undo))


def _arrows(workflow: Workflow) -> Iterator[tuple[tuple[str, str], str]]:
    for name, needed in workflow.needs.items():
        kind = arrow_of(workflow.step(name), workflow.fallbacks)
        for above in needed:
            yield (above, name), kind
    for step in workflow.steps:
        if step.compensate is not None:
            yield (step.id, _undo(step)), "compensate"


def _undo(step: WorkflowStep) -> str:
    # No id has a space in it.
    return f"undo {step.id}"


def _bare(text: str) -> str:
    """Return text on one line without the braces of expressions: there is little room."""
    return _BRACES.sub(r"\1", plain(text))
