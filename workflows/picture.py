"""Boxes and arrows as an SVG picture, in layers: each box stands below those that lead to it.

Invariant: the same boxes and arrows give the same picture, and whatever stands in words is shown as text.
How a box stands changes its colours and its last line, and nothing of its size, so that a picture that is
drawn again and again stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from unicodedata import east_asian_width
from xml.etree import ElementTree

from workflows.layout import Arrow, Lane, Layout, lay_out
from workflows.state import StepStatus

__all__ = ["Box", "Look", "columns_of", "cut", "draw", "plain"]

_LETTER, _LINE, _TIP, _MARGIN = 7.0, 15.0, 8.0, 24.0
#: Letters of the widest line that says how a box stands.
_WIDEST_STANDING = 21

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
    "expands": ("#5f6368", "2 3", ""),
}


@dataclass(frozen=True)
class Look:
    """How a box stands.

    Attributes:
        state: Gives its colours.
        words: The same in words.
        link: Where a click on it leads.
        critical: Whether the end waits for it.
    """

    state: StepStatus = StepStatus.PENDING
    words: str = ""
    link: str = ""
    critical: bool = False


@dataclass(frozen=True)
class Box:
    """A step, a task, or what undoes one: its words, line by line, and all of them for the title."""

    kind: str
    lines: tuple[str, ...]
    title: str
    look: Look = Look()

    @property
    def shown(self) -> tuple[str, ...]:
        """All lines, the one about its standing included."""
        return (*self.lines, self.look.words) if self.look.words else self.lines

    @property
    def text(self) -> tuple[float, float]:
        """How wide and high the words are."""
        widest = max(columns_of(line) for line in self.lines)
        least = _WIDEST_STANDING if self.look.words else 8
        return _LETTER * max(widest, least), _LINE * len(self.shown)

    @property
    def size(self) -> tuple[float, float]:
        """How wide and high its shape is, with room for the words."""
        width, height = self.text
        if self.kind == "approval":
            # The corners of a rhombus hold no words: a / W + b / H is 1.
            return round(1.8 * width, 1), round(2.25 * height + 6, 1)
        return width + (44 if self.kind in ("workflow", "plan") else 28), height + 16


def draw(title: str, boxes: Mapping[str, Box], arrows: Mapping[Arrow, str]) -> ElementTree.Element:
    """Return the picture as an SVG element; `arrows` are kinds by the boxes that they lead from and to."""
    layout = _laid_out(tuple((name, box.size) for name, box in boxes.items()), tuple(arrows))
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
    ElementTree.SubElement(picture, "title").text = plain(title)
    for (above, below), kind in arrows.items():
        _draw_arrow(picture, kind, f"{above} → {below}", layout.ways[above, below])
    for name, box in boxes.items():
        _draw_box(picture, box, *layout.middles[name])
    return picture


@lru_cache(maxsize=256)
def _laid_out(
    sizes: tuple[tuple[str, tuple[float, float]], ...], arrows: tuple[Arrow, ...]
) -> Layout:
    """Lay out once what is drawn again and again while it runs."""
    return lay_out(dict(sizes), arrows)


def plain(text: str) -> str:
    """Return text on one line, without what XML does not take as text."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def columns_of(text: str) -> int:
    """Return how wide text is, in letters of the usual width."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(text: str, most: int) -> str:
    """Return text that is no wider than so many letters."""
    if columns_of(text) <= most:
        return text
    kept = 1
    while columns_of(text[: kept + 1]) < most:
        kept += 1
    return f"{text[:kept]}…"


def _draw_arrow(picture: ElementTree.Element, kind: str, title: str, way: Sequence[Lane]) -> None:
    colour, dashes, words = _ARROWS[kind]
    group = ElementTree.SubElement(picture, "g", {"class": f"arrow {kind}"})
    ElementTree.SubElement(group, "title").text = plain(title)
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


def _draw_box(picture: ElementTree.Element, box: Box, x: float, y: float) -> None:
    fill, stroke = _COLOURS[box.look.state]
    critical = " critical" if box.look.critical else ""
    around = picture
    if box.look.link:
        around = ElementTree.SubElement(picture, "a", {"href": box.look.link})
    group = ElementTree.SubElement(
        around, "g", {"class": f"step {box.kind} {box.look.state}{critical}"}
    )
    ElementTree.SubElement(group, "title").text = box.title
    thick = "3" if box.look.critical else "1.4"
    for tag, form in _shape(box, x, y):
        look = {"fill": fill, "stroke": stroke, "stroke-width": thick}
        ElementTree.SubElement(group, tag, {**form, **look})
    top = y - box.text[1] / 2 + 11
    for number, line in enumerate(box.shown):
        place = {"x": f"{x:.1f}", "y": f"{top + _LINE * number:.1f}", "text-anchor": "middle"}
        if number == 0:
            place["font-weight"] = "600"
        if number == len(box.lines):
            place["class"] = "standing"
        ElementTree.SubElement(group, "text", {**place, "fill": "#202124"}).text = line


def _shape(box: Box, x: float, y: float) -> Iterator[tuple[str, dict[str, str]]]:
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
