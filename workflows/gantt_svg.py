"""A timeline as an SVG picture, readable in light and in dark.

Invariant: whatever stands in titles is shown as text, and there is nothing in it that runs.
"""

from __future__ import annotations

from xml.etree import ElementTree

from workflows.gantt import rows, span_of
from workflows.timeline import Timeline, TimelineItem

__all__ = ["drawn", "gantt_svg"]

_ROW, _LABELS, _CHART, _NOTES, _TOP = 24, 250, 620, 90, 56
_LONGEST = 32
_STYLE = """
.paper { fill: #ffffff } text { fill: #202124; font: 12px system-ui, sans-serif }
.faint { fill: #5f6368; font-size: 11px } .grid { stroke: #dadce0 } .goal { font-weight: 600 }
.planned { fill: #c7d2e0 } .running { fill: #1a73e8 } .done { fill: #188038 } .failed { fill: #c5221f }
.critical { stroke: #b06f00; stroke-width: 2 } .now { stroke: #1a73e8; stroke-dasharray: 3 3 }
.before { fill: #9aa0a6 } .slack { stroke: #9aa0a6; stroke-dasharray: 2 3 } .due { stroke: #c5221f }
@media (prefers-color-scheme: dark) {
  .paper { fill: #1b1c1f } text { fill: #e8eaed } .faint { fill: #9aa0a6 } .grid { stroke: #3c4043 }
  .planned { fill: #54657a } .running { fill: #8ab4f8 } .done { fill: #5bb974 } .failed { fill: #f28b82 }
  .critical { stroke: #fcc934 } .now { stroke: #8ab4f8 } .due { stroke: #f28b82 }
}
"""


def gantt_svg(timeline: Timeline, title: str) -> str:
    """Return the picture as the text of an SVG document."""
    picture = drawn(timeline, title)
    style = ElementTree.Element("style")
    style.text = _STYLE
    picture.insert(1, style)
    ElementTree.indent(picture)
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


def drawn(timeline: Timeline, title: str) -> ElementTree.Element:
    """Return the picture as an SVG element, whose colours are left to the style of its page."""
    lines = rows(timeline, 80)
    height = _TOP + _ROW * len(lines) + 64
    width = _LABELS + _CHART + _NOTES
    picture = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
        },
    )
    ElementTree.SubElement(picture, "title").text = _clean(title)
    _shape(picture, "rect", "paper", width=width, height=height)
    _text(picture, 16, 24, title, "goal")
    _text(picture, 16, 42, _summary(timeline), "faint")
    _Chart(picture, timeline, _TOP + _ROW * len(lines)).draw()
    for number, row in enumerate(lines):
        _draw_row(picture, timeline, row.item, row.milestone, _TOP + _ROW * number)
    _draw_legend(picture, _TOP + _ROW * len(lines) + 46)
    return picture


def _summary(timeline: Timeline) -> str:
    likely = timeline.likely
    words = (
        f"{span_of(timeline.duration)} expected, half of the courses within {span_of(likely.p50)}, "
        f"nine of ten within {span_of(likely.p90)}"
    )
    late = ", ".join(
        f"{name or 'the deadline'} missed in {share:.0%} of them"
        for name, share in timeline.late.items()
    )
    return f"{words}; {late}" if late else words


def _scale(timeline: Timeline) -> float:
    return _CHART / _whole(timeline)


def _whole(timeline: Timeline) -> float:
    return max(timeline.duration, timeline.now, 1e-9)


class _Chart:
    """The ground that the bars stand on: lines of time, the present, deadlines."""

    def __init__(self, picture: ElementTree.Element, timeline: Timeline, bottom: float) -> None:
        self._picture = picture
        self._timeline = timeline
        self._bottom = bottom

    def draw(self) -> None:
        whole = _whole(self._timeline)
        for quarter in range(5):
            seconds = whole * quarter / 4
            self._line("grid", seconds)
            anchor = "end" if quarter == 4 else "middle" if quarter else "start"
            self._word(seconds, span_of(seconds), anchor)
        if 0 < self._timeline.now < whole:
            self._line("now", self._timeline.now)
        for due in self._timeline.deadlines.values():
            seconds = (due - self._timeline.begins_at).total_seconds()
            if 0 <= seconds <= whole:
                self._line("due", seconds)

    def _line(self, kind: str, seconds: float) -> None:
        x = _LABELS + seconds * _scale(self._timeline)
        _shape(self._picture, "line", kind, x1=x, x2=x, y1=_TOP - 4, y2=self._bottom + 4)

    def _word(self, seconds: float, words: str, anchor: str) -> None:
        x = _LABELS + seconds * _scale(self._timeline)
        found = _text(self._picture, x, self._bottom + 20, words, "faint")
        found.set("text-anchor", anchor)


def _draw_row(
    picture: ElementTree.Element,
    timeline: Timeline,
    item: TimelineItem,
    milestone: bool,
    top: float,
) -> None:
    scale, middle = _scale(timeline), top + _ROW / 2
    left, right = _LABELS + item.start * scale, _LABELS + item.finish * scale
    kind = f"{item.standing} critical" if item.id in timeline.critical_path else item.standing
    label = _text(picture, 16 if milestone else 28, middle + 4, _cut(item.title), "")
    label.set("class", "goal" if milestone else "")
    ElementTree.SubElement(label, "title").text = _clean(f"{item.id}: {item.title}")
    if milestone:
        points = (
            f"{right - 7},{middle} {right},{middle - 7} {right + 7},{middle} {right},{middle + 7}"
        )
        shape = ElementTree.SubElement(picture, "polygon", {"class": kind, "points": points})
    else:
        wide = max(right - left, 2)
        shape = _shape(picture, "rect", kind, x=left, y=middle - 6, width=wide, height=12, rx=3)
        if timeline.now > 0:
            _draw_planned(picture, item, scale, middle + 7)
        if item.slack > 0:
            end = _LABELS + item.latest_finish * scale
            _shape(picture, "line", "slack", x1=right, x2=end, y1=middle, y2=middle)
    ElementTree.SubElement(shape, "title").text = _clean(_told(item))
    note = span_of(item.finish) if milestone else span_of(item.finish - item.start)
    _text(picture, _LABELS + _CHART + 14, middle + 4, note, "faint")


def _draw_planned(
    picture: ElementTree.Element, item: TimelineItem, scale: float, top: float
) -> None:
    """Draw a thin bar where the item stood in the plan."""
    left, wide = _LABELS + item.planned_start * scale, item.planned_finish - item.planned_start
    inside = max(0.0, min(wide * scale, _LABELS + _CHART - left))
    _shape(picture, "rect", "before", x=left, y=top, width=inside, height=2)


def _draw_legend(picture: ElementTree.Element, top: float) -> None:
    known = (
        ("done", "done"),
        ("running", "running"),
        ("failed", "failed, to do again"),
        ("planned", "planned"),
        ("planned critical", "the end waits for it"),
        ("before", "as it was planned"),
    )
    for number, (kind, words) in enumerate(known):
        left = 16 + 150 * number
        height = 2 if kind == "before" else 10
        _shape(picture, "rect", kind, x=left, y=top + 5 - height / 2, width=18, height=height, rx=2)
        _text(picture, left + 26, top + 9, words, "faint")


def _told(item: TimelineItem) -> str:
    slack = f", {span_of(item.slack)} of slack" if item.slack > 0 else ""
    return f"{item.title}: {item.standing}, {span_of(item.start)} to {span_of(item.finish)}{slack}"


def _clean(words: str) -> str:
    """Return words without what no XML may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in words)


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"


def _text(
    parent: ElementTree.Element, x: float, y: float, words: str, kind: str
) -> ElementTree.Element:
    found = ElementTree.SubElement(
        parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": kind}
    )
    found.text = _clean(words)
    return found


def _shape(
    parent: ElementTree.Element, name: str, kind: str, **numbers: float
) -> ElementTree.Element:
    placed = {key: f"{number:.1f}".removesuffix(".0") for key, number in numbers.items()}
    return ElementTree.SubElement(parent, name, {"class": kind, **placed})
