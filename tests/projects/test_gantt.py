"""Charts of a timeline: rows, Mermaid and SVG."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_app.cli.project_chart import chart
from workflows.estimates import Estimate
from workflows.gantt import mermaid, rows, span_of
from workflows.gantt_svg import gantt_svg
from workflows.timeline import Actual, Timeline

BEGINS = datetime(2030, 1, 1, tzinfo=UTC)


def made(title: str = "Write", **more: object) -> Timeline:
    tasks = [
        ("a/1", title, "a", [], Estimate(10, 0)),
        ("a/2", "Short", "a", [], Estimate(4, 0)),
        ("a", "a is reached", "a", ["a/1", "a/2"], Estimate(0, 0)),
        ("b/1", "After", "b", ["a"], Estimate(10, 0)),
        ("b", "b is reached", "b", ["b/1"], Estimate(0, 0)),
    ]
    return Timeline.of(tasks, begins_at=BEGINS, draws=20, **more)  # type: ignore[arg-type]


def test_bars_stand_where_their_time_is() -> None:
    drawn = {row.item.id: (row.drawn(20), row.mark) for row in rows(made(), 20)}
    assert drawn == {
        "a/1": ("━━━━━━━━━━          ", "*"),
        "a/2": ("────                ", " "),
        "a": ("          ◇         ", "*"),
        "b/1": ("          ━━━━━━━━━━", "*"),
        "b": ("                   ◇", "*"),
    }


def test_what_is_done_and_what_runs_is_shown() -> None:
    actuals = {
        "a/1": Actual(standing="running", started_at=BEGINS),
        "a/2": Actual(
            standing="done", started_at=BEGINS, finished_at=BEGINS + timedelta(seconds=5)
        ),
    }
    now = BEGINS + timedelta(seconds=6)
    drawn = {row.item.id: row.bar for row in rows(made(actuals=actuals, now=now), 20)}
    assert (drawn["a/1"], drawn["a/2"]) == ("▓" * 10, "█" * 5)


def test_a_chart_fits_its_width_and_tells_what_is_at_risk() -> None:
    late = made(deadlines={"b": BEGINS + timedelta(seconds=15)})
    lines = [line.plain for line in chart(late, 90)]
    bars = lines[: len(late.items)]
    assert max(map(len, bars)) <= 90
    assert "at risk: goal b is due 2030-01-01 00:00:15 UTC, and 100% of the likely" in lines[-2]


def test_mermaid_has_sections_marks_and_times() -> None:
    lines = mermaid(made("Write: a report; #1"), "study").splitlines()
    assert lines[:4] == [
        "gantt",
        "    title study",
        "    dateFormat YYYY-MM-DDTHH:mm:ss.SSS",
        "    section a",
    ]
    assert lines[4] == "    Write a report 1 :crit, t1, 2030-01-01T00:00:00.000, 10000ms"
    assert lines[6] == "    a is reached :crit, milestone, t3, 2030-01-01T00:00:10.000, 0ms"


@given(st.text())
def test_whatever_stands_in_a_title_is_text(title: str) -> None:
    picture = gantt_svg(made(title), title)
    root = ElementTree.fromstring(picture)
    known = {"svg", "title", "style", "rect", "text", "line", "polygon"}
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= known
    diagram = mermaid(made(title), title)
    assert len(re.findall(r" :(?:crit|t\d)", diagram)) == 5
    assert len(diagram.splitlines()) == 10


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (4.2, "4.2 s"), (59, "59 s"), (60, "1 min"), (150, "2 min 30 s"), (3599, "1 h"),
        (7200, "2 h"), (9000, "2 h 30 min"), (86400 * 3 + 7200, "3 d 2 h"),
    ],
)  # fmt: skip
def test_spans_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert span_of(seconds) == words
