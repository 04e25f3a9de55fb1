"""A workflow as an SVG picture, in the layers that its steps' needs make.

Shapes, arrows and marks mean what they mean in `workflows.drawing`; with the states of a run, colours
tell how it stands.

Invariant: the same workflow gives the same picture, and whatever stands in ids, questions and
expressions is shown as text. What is cut is whole in the title of its box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width
from xml.etree import ElementTree

from workflows.drawing import arrow_of, marks_of, undo_of, work_of
from workflows.layout import Lane, lay_out
from workflows.state import StepStatus
from workflows.step import WorkflowStep
from workflows.workflow import Workflow

__all__ = ["svg"]

_LETTER, _LINE, _TIP, _MARGIN = 7.0, 15.0, 8.0, 24.0
_LONGEST = 38
_LONGEST_TITLE = 500
_BRACES = re.compile(r"\{\{ ?(.*?) ?\}\}")

_COLOURS = {
    StepStatus.PENDING: ("#ffffff", "#80868b"),
    StepStatus.RUNNING: ("#d7ecff", "#1a73e8"),
    StepStatus.WAITING: ("#fff4cf", "#b06f00"),
    StepStatus.SUCCESS: ("#dcf3e0", "#188038"),
    StepStatus.ERROR: ("#fbdcd9", "#c5221f"),
    StepStatus.CANCELLED: ("#eeeeee", "#7a5b00"),
    StepStatus.SKIPPED: ("#f4f4f4", "#9aa0a6"),
}
_ARROWS = {
    "success": ("#5f6368", "", ""),
    "failure": ("#c5221f", "6 4", "on failure"),
    "always": ("#5f6368", "", "always"),
    "fallback": ("#b06f00", "6 4", "fallback"),
    "compensate": ("#7627bb", "6 4", "compensate"),
}


@dataclass(frozen=True)
class _Box:
    """A step, or what undoes one: its words, line by line, and all of them for the title."""

    kind: str
    lines: tuple[str, ...]
    title: str
    state: StepStatus = StepStatus.PENDING

    @property
    def text(self) -> tuple[float, float]:
        """How wide and high the words are."""
        widest = max(_columns(line) for line in self.lines)
        return _LETTER * max(widest, 8), _LINE * len(self.lines)

    @property
    def size(self) -> tuple[float, float]:
        """How wide and high its shape is, with room for the words."""
        width, height = self.text
        if self.kind == "approval":
            # The corners of a rhombus hold no words: a / W + b / H is 1.
            return round(1.8 * width, 1), round(2.25 * height + 6, 1)
        return width + (44 if self.kind in ("workflow", "plan") else 28), height + 16


def svg(workflow: Workflow, states: Mapping[str, StepStatus] | None = None) -> str:
    """Return the picture as the text of an SVG document; `states` are those of a run's steps."""
    boxes = dict(_boxes(workflow, states or {}))
    kinds = dict(_arrows(workflow))
    layout = lay_out({name: box.size for name, box in boxes.items()}, list(kinds))
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    picture = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"{-_MARGIN:g} {-_MARGIN:g} {width:.1f} {height:.1f}",
            "width": f"{width:.1f}",
            "height": f"{height:.1f}",
            "font-family": "system-ui, sans-serif",
            "font-size": "12",
        },
    )
    ElementTree.SubElement(picture, "title").text = workflow.name
    for (above, below), kind in kinds.items():
        _draw_arrow(picture, kind, f"{above} → {below}", layout.ways[above, below])
    for name, box in boxes.items():
        _draw_box(picture, box, *layout.middles[name])
    ElementTree.indent(picture)
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


def _boxes(workflow: Workflow, states: Mapping[str, StepStatus]) -> Iterator[tuple[str, _Box]]:
    for step in workflow.steps:
        words = [(step.id, ""), (work_of(step), ""), *marks_of(step)]
        lines = tuple(_cut(_bare(text), _LONGEST - len(end)) + end for text, end in words)
        whole = "\n".join(_cut(_plain(text), _LONGEST_TITLE) + end for text, end in words)
        yield step.id, _Box(step.kind, lines, whole, states.get(step.id, StepStatus.PENDING))
        if (undo := undo_of(step)) is not None:
            yield _undo(step), _Box("task", (_cut(_plain(undo), _LONGEST),), _plain(undo))


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


def _plain(text: str) -> str:
    """Return text on one line, without what XML does not take as text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _bare(text: str) -> str:
    """Return text on one line without the braces of expressions: there is little room."""
    return _BRACES.sub(r"\1", _plain(text))


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _cut(text: str, most: int) -> str:
    if _columns(text) <= most:
        return text
    kept = 1
    while _columns(text[: kept + 1]) < most:
        kept += 1
    return f"{text[:kept]}…"


def _draw_arrow(picture: ElementTree.Element, kind: str, title: str, way: Sequence[Lane]) -> None:
    colour, dashes, words = _ARROWS[kind]
    group = ElementTree.SubElement(picture, "g", {"class": f"arrow {kind}"})
    ElementTree.SubElement(group, "title").text = title
    path = f"M {way[0].x:.1f} {way[0].top:.1f} V {way[0].bottom:.1f}"
    for above, below in pairwise(way):
        middle = (above.bottom + below.top) / 2
        path += f" C {above.x:.1f} {middle:.1f} {below.x:.1f} {middle:.1f}"
        path += f" {below.x:.1f} {below.top - _TIP:.1f} V {below.bottom - _TIP:.1f}"
    line = {"d": path, "fill": "none", "stroke": colour, "stroke-width": "1.4"}
    if dashes:
        line["stroke-dasharray"] = dashes
    ElementTree.SubElement(group, "path", line)
    x, y = way[-1].x, way[-1].bottom
    tip = [(x, y), (x - 4, y - _TIP), (x + 4, y - _TIP)]
    ElementTree.SubElement(group, "polygon", points=_points(tip), fill=colour)
    if words:
        place = {"x": f"{x + 8:.1f}", "y": f"{way[-1].top - 4:.1f}", "fill": colour}
        ElementTree.SubElement(group, "text", {**place, "font-size": "10"}).text = words


def _draw_box(picture: ElementTree.Element, box: _Box, x: float, y: float) -> None:
    fill, stroke = _COLOURS[box.state]
    group = ElementTree.SubElement(picture, "g", {"class": f"step {box.kind} {box.state}"})
    ElementTree.SubElement(group, "title").text = box.title
    for tag, form in _shape(box, x, y):
        look = {"fill": fill, "stroke": stroke, "stroke-width": "1.4"}
        ElementTree.SubElement(group, tag, {**form, **look})
    top = y - box.text[1] / 2 + 11
    for number, line in enumerate(box.lines):
        place = {"x": f"{x:.1f}", "y": f"{top + _LINE * number:.1f}", "text-anchor": "middle"}
        if number == 0:
            place["font-weight"] = "600"
        ElementTree.SubElement(group, "text", {**place, "fill": "#202124"}).text = line


def _shape(box: _Box, x: float, y: float) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what is drawn around the words, as Mermaid draws steps of that kind."""
    width, height = box.size
    left, right, top, bottom = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    if box.kind == "approval":
        yield "polygon", {"points": _points([(left, y), (x, top), (right, y), (x, bottom)])}
        return
    if box.kind == "plan":
        corners = [(left, y), (left + 16, top), (right - 16, top)]
        corners += [(right, y), (right - 16, bottom), (left + 16, bottom)]
        yield "polygon", {"points": _points(corners)}
        return
    form = {"x": f"{left:.1f}", "y": f"{top:.1f}"}
    form |= {"width": f"{width:.1f}", "height": f"{height:.1f}"}
    yield "rect", {**form, "rx": f"{height / 2:.1f}"} if box.kind == "agent" else form
    if box.kind == "workflow":
        for side in (left + 8, right - 8):
            yield "path", {"d": f"M {side:.1f} {top:.1f} V {bottom:.1f}"}


def _points(corners: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
