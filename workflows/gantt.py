"""A timeline as rows of bars, and as Mermaid text.

Invariant: the same timeline gives the same rows; where something is neither colour nor position alone
says it, so a drawing without colours can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from workflows.timeline import Timeline, TimelineItem

__all__ = ["Row", "legend", "mermaid", "position_of_now", "rows", "span_of"]

#: done, running, planned; each once for what the end waits for and once for the rest.
_BARS = {
    ("done", True): "█",
    ("done", False): "█",
    ("running", True): "▓",
    ("running", False): "▓",
    ("planned", True): "━",
    ("planned", False): "─",
    ("failed", True): "x",
    ("failed", False): "x",
}


@dataclass(frozen=True)
class Row:
    """A line of the chart. A milestone is one sign wide; `mark` is * where the end waits for it."""

    item: TimelineItem
    milestone: bool
    mark: str
    before: int
    bar: str

    def drawn(self, width: int, now: int | None = None) -> str:
        """Return the bar in its place, `width` signs wide, with the present as a thin line."""
        line = list((" " * self.before + self.bar).ljust(width)[:width])
        if now is not None and now < width and line[now] == " ":
            line[now] = "│"
        return "".join(line)


def rows(timeline: Timeline, width: int) -> list[Row]:
    """Return one row a task, goal by goal in the order they begin; `width` signs are all the time."""
    whole = max(timeline.duration, timeline.now, 1e-9)
    critical = set(timeline.critical_path)
    found = []
    for item in sorted(timeline.items, key=_in_order(timeline)):
        milestone = item.id == item.goal
        before = min(int(item.start / whole * width), width - 1)
        if milestone:
            sign = "◆" if item.standing == "done" else "x" if item.standing == "failed" else "◇"
            bar = sign
        else:
            length = max(1, round(item.finish / whole * width) - before)
            bar = _BARS[item.standing, item.id in critical] * min(length, width - before)
        found.append(Row(item, milestone, "*" if item.id in critical else " ", before, bar))
    return found


def position_of_now(timeline: Timeline, width: int) -> int | None:
    """Return where the present is in a row, if the work has begun and is not over."""
    whole = max(timeline.duration, timeline.now, 1e-9)
    if not 0 < timeline.now < whole:
        return None
    return min(int(timeline.now / whole * width), width - 1)


def legend() -> str:
    """Return what the signs mean."""
    return (
        "█ done  ▓ running  ━ planned, the end waits for it (*)  ─ planned  "
        "◇ goal  ◆ reached  x to do again"
    )


def _in_order(timeline: Timeline) -> Callable[[TimelineItem], tuple[float, str, bool, float, str]]:
    begins: dict[str, float] = {}
    for item in timeline.items:
        begins[item.goal] = min(item.start, begins.get(item.goal, item.start))

    def key(item: TimelineItem) -> tuple[float, str, bool, float, str]:
        return begins[item.goal], item.goal, item.id == item.goal, item.start, item.id

    return key


def span_of(seconds: float) -> str:
    """Return a duration as people say it: 4 s, 3 min, 2 h 10 min, 3 d 4 h."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.5 or seconds == 0 else f"{seconds:.1f} s"
    if seconds < 599.5:
        minutes, left = divmod(round(seconds), 60)
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def mermaid(timeline: Timeline, title: str) -> str:
    """Return the timeline as a Gantt diagram in Mermaid, one section a goal."""
    return "\n".join(_mermaid(timeline, title)) + "\n"


def _mermaid(timeline: Timeline, title: str) -> Iterator[str]:
    critical = set(timeline.critical_path)
    yield "gantt"
    yield f"    title {_plain(title)}"
    yield "    dateFormat YYYY-MM-DDTHH:mm:ss.SSS"
    section = None
    for number, row in enumerate(rows(timeline, 80), start=1):
        item = row.item
        if item.goal != section:
            section = item.goal
            yield f"    section {_plain(section)}"
        marks = [
            *(["crit"] if item.id in critical else []),
            *({"done": ["done"], "running": ["active"]}.get(item.standing, [])),
            *(["milestone"] if row.milestone else []),
            f"t{number}",
            _moment(timeline, item.start),
            f"{max(0, round((item.finish - item.start) * 1000))}ms",
        ]
        yield f"    {_plain(item.title)} :{', '.join(marks)}"


def _moment(timeline: Timeline, seconds: float) -> str:
    moment = timeline.begins_at + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


def _plain(text: str) -> str:
    # Colons, semicolons and # end a title in Mermaid's grammar.
    words = re.sub(r"[:;#%\s\x00-\x1f<>`{}]+", " ", text).strip()
    return words[:80] or "task"
