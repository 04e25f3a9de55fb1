"""A workflow as an SVG picture, in the layers that its steps' needs make.

Shapes and arrows mean what they mean in `workflows.drawing`; with the states of a run, colours tell
how it stands.

Invariant: the same workflow gives the same picture, and whatever stands in ids is shown as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from xml.etree import ElementTree

from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout

from workflows.drawing import arrow_of, work_of
from workflows.state import StepStatus
from workflows.step import WorkflowStep
from workflows.workflow import Workflow

__all__ = ["svg"]

_LETTER, _HEIGHT, _GAP, _MARGIN = 7.2, 44.0, 28.0, 20.0
_LONGEST = 34

_COLOURS = {
    StepStatus.PENDING: ("#ffffff", "#9aa0a6"),
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
    "always": ("#5f6368", "2 3", "always"),
    "fallback": ("#b06f00", "6 4", "fallback"),
}


def svg(workflow: Workflow, states: Mapping[str, StepStatus] | None = None) -> str:
    """Return the picture as the text of an SVG document; `states` are those of a run's steps."""
    boxes = {step.id: _Box(step.id, _lines(step)) for step in workflow.steps}
    arrows = [
        _Arrow(boxes[before], boxes[step], arrow_of(workflow.step(step), workflow.fallbacks))
        for step, earlier in workflow.needs.items()
        for before in earlier
    ]
    width, height = _lay_out(boxes.values(), arrows)
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {width:g} {height:g}",
        "width": f"{width:g}",
        "height": f"{height:g}",
        "font-family": "system-ui, sans-serif",
        "font-size": "12",
    }
    picture = ElementTree.Element("svg", attributes)
    ElementTree.SubElement(picture, "title").text = workflow.name
    for arrow in arrows:
        _draw_arrow(picture, arrow)
    for step in workflow.steps:
        state = (states or {}).get(step.id, StepStatus.PENDING)
        _draw_box(picture, boxes[step.id], step.kind, *_COLOURS[state])
    ElementTree.indent(picture)
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


@dataclass(eq=False)
class _Box:
    """A step, as the layout sees it: `w`, `h`, and `xy`, the middle."""

    name: str
    lines: list[str]
    xy: tuple[float, float] = (0.0, 0.0)

    @property
    def w(self) -> float:
        return max(90.0, 24 + _LETTER * max(map(len, self.lines)))

    @property
    def h(self) -> float:
        return _HEIGHT


@dataclass(eq=False)
class _Arrow:
    """What leads from a step to one that waits for it; `points` are where it passes by."""

    before: _Box
    after: _Box
    kind: str
    points: list[tuple[float, float]] = field(default_factory=list)

    def setpath(self, points: list[tuple[float, float]]) -> None:
        """Take the way that the layout found."""
        self.points = points


def _lay_out(boxes: Iterable[_Box], arrows: Iterable[_Arrow]) -> tuple[float, float]:
    """Give every box and arrow its place, parts that hang together side by side; return the size."""
    vertices = {box.name: Vertex(box.name) for box in boxes}
    for box in boxes:
        vertices[box.name].view = box
    edges = []
    for arrow in arrows:
        edges.append(Edge(vertices[arrow.before.name], vertices[arrow.after.name]))
        edges[-1].view = arrow
    left, bottom = _MARGIN, 0.0
    for part in Graph(list(vertices.values()), edges).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.yspace = _GAP, 2 * _GAP
        layout.init_all()
        layout.draw(3)
        inside = [vertex.view for vertex in part.sV]
        shift = left - min(box.xy[0] - box.w / 2 for box in inside)
        drop = _MARGIN - min(box.xy[1] - box.h / 2 for box in inside)
        for box in inside:
            box.xy = (box.xy[0] + shift, box.xy[1] + drop)
        for edge in part.sE:
            edge.view.points = [(x + shift, y + drop) for x, y in edge.view.points]
        left = max(box.xy[0] + box.w / 2 for box in inside) + _GAP
        bottom = max(bottom, *(box.xy[1] + box.h / 2 for box in inside))
    return left - _GAP + _MARGIN, bottom + _MARGIN


def _lines(step: WorkflowStep) -> list[str]:
    work = " ".join(work_of(step).split())
    return [step.id, work if len(work) <= _LONGEST else f"{work[: _LONGEST - 1]}…"]


def _draw_arrow(picture: ElementTree.Element, arrow: _Arrow) -> None:
    colour, dashes, words = _ARROWS[arrow.kind]
    begin = (arrow.before.xy[0], arrow.before.xy[1] + arrow.before.h / 2)
    end = (arrow.after.xy[0], arrow.after.xy[1] - arrow.after.h / 2)
    way = [begin, *arrow.points[1:-1], (end[0], end[1] - 6)]
    path = f"M {way[0][0]:g} {way[0][1]:g}"
    for (left, upper), (right, lower) in pairwise(way):
        middle = (upper + lower) / 2
        path += f" C {left:g} {middle:g} {right:g} {middle:g} {right:g} {lower:g}"
    attributes = {"d": path, "fill": "none", "stroke": colour, "stroke-width": "1.4"}
    if dashes:
        attributes["stroke-dasharray"] = dashes
    line = ElementTree.SubElement(picture, "path", attributes)
    ElementTree.SubElement(line, "title").text = f"{arrow.before.name} → {arrow.after.name}"
    x, y = end
    tip = f"{x:g},{y:g} {x - 4:g},{y - 8:g} {x + 4:g},{y - 8:g}"
    ElementTree.SubElement(picture, "polygon", points=tip, fill=colour)
    if words:
        place = {"x": f"{x + 8:g}", "y": f"{y - 8:g}", "fill": colour, "font-size": "10"}
        ElementTree.SubElement(picture, "text", place).text = words


def _draw_box(picture: ElementTree.Element, box: _Box, kind: str, fill: str, stroke: str) -> None:
    x, y = box.xy[0] - box.w / 2, box.xy[1] - box.h / 2
    form = {
        "x": f"{x:g}",
        "y": f"{y:g}",
        "width": f"{box.w:g}",
        "height": f"{box.h:g}",
        "rx": {"agent": "22", "approval": "0"}.get(kind, "6"),
        "fill": fill,
        "stroke": stroke,
        "stroke-width": "2.5" if kind in ("workflow", "plan") else "1.4",
    }
    if kind == "approval":
        form["stroke-dasharray"] = "4 3"
    ElementTree.SubElement(picture, "rect", form)
    for number, (line, weight) in enumerate(zip(box.lines, ("600", "400"), strict=True)):
        place = {
            "x": f"{box.xy[0]:g}",
            "y": f"{y + 18 + 15 * number:g}",
            "text-anchor": "middle",
            "font-weight": weight,
        }
        ElementTree.SubElement(picture, "text", place).text = line
