"""A timeline as lines of a terminal: a name, a bar in its place, and the seconds."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from celery_app.cli.screen import one_line
from workflows.gantt import Row, legend, position_of_now, rows, span_of
from workflows.timeline import Timeline

__all__ = ["chart"]

_LABEL, _NOTE = 34, 26
_STYLES = {"done": "green", "running": "cyan", "failed": "bold red", "planned": ""}


def chart(timeline: Timeline, width: int) -> Iterator[Text]:
    """Yield the lines of a chart that is at most so wide."""
    bars = max(20, width - _LABEL - _NOTE - 2)
    now = position_of_now(timeline, bars)
    for row in rows(timeline, bars):
        yield _line(row, bars, now)
    yield Text(
        f"{'':{_LABEL}} {'0':<{bars // 2}}{span_of(timeline.duration):>{bars - bars // 2}}", "dim"
    )
    yield Text()
    yield from _summary(timeline)
    yield Text(legend(), "dim")


def _line(row: Row, bars: int, now: int | None) -> Text:
    item = row.item
    label = one_line(item.title if row.milestone else f"  {item.title}", _LABEL - 2)
    indent = "" if row.milestone else "  "
    text = Text(f"{indent + label.strip():<{_LABEL - 1}.{_LABEL - 1}}{row.mark} ")
    if row.milestone:
        text.stylize("bold")
    style = _STYLES[item.standing] or ("yellow" if row.mark == "*" else "")
    text.append(row.drawn(bars, now), style=style)
    text.append(f" {_note(row)}", style="dim")
    return text


def _note(row: Row) -> str:
    item = row.item
    if row.milestone:
        return f"at {span_of(item.finish)}"
    took = span_of(item.finish - item.start)
    if item.standing == "done":
        return f"{took}, planned {span_of(item.planned_finish - item.planned_start)}"
    return f"{took}, slack {span_of(item.slack)}" if item.slack >= 0.05 else took


def _summary(timeline: Timeline) -> Iterator[Text]:
    likely = timeline.likely
    yield Text(
        f"ends after {span_of(timeline.duration)} ({span_of(timeline.planned_duration)} planned): "
        f"P50 {span_of(likely.p50)}, P90 {span_of(likely.p90)}, "
        f"about {timeline.finishes_at:%Y-%m-%d %H:%M:%S %Z}"
    )
    for goal, share in timeline.late.items():
        what = f"goal {goal}" if goal else "the project"
        due = timeline.deadlines[goal]
        yield Text(
            f"at risk: {what} is due {due:%Y-%m-%d %H:%M:%S %Z}, and {share:.0%} of the likely courses "
            "end later",
            "bold red",
        )
