from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workflows.errors import WorkflowError
from workflows.triggers import KINDS, WorkflowTrigger, due, next_time, occurrences

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# Both changes of the clock in 2026, by the day.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
]
minutes = st.sampled_from(["*", "*/5", "*/7", "*/30", "0", "15", "30", "0,30", "45,59", "10-12"])
hours = st.sampled_from(["*", "*/2", "*/3", "0", "1", "2", "3", "1,2", "2,3", "1-3", "0-23/2"])
weekdays = st.sampled_from(["*", "sun", "mon-fri", "0,6"])
FIELDS = {
    "sun": {0}, "mon-fri": {1, 2, 3, 4, 5}, "0,6": {0, 6},
}  # fmt: skip


def cron(expression: str, zone: str = "UTC", **more: Any) -> WorkflowTrigger:
    return WorkflowTrigger(cron=expression, timezone=zone, **more)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@lru_cache
def clock(zone: str, start: datetime) -> list[tuple[datetime, datetime]]:
    """Every real minute of four days and the local time that the clock shows then."""
    local = ZoneInfo(zone)
    moments = [start - DAY + n * MINUTE for n in range(4 * 1440)]
    return [(moment, moment.astimezone(local).replace(tzinfo=None)) for moment in moments]


def field(text: str, top: int) -> set[int]:
    """The numbers of a field, read in the plainest way."""
    if text in FIELDS:
        return FIELDS[text]
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        ends = (0, top) if span == "*" else (int(low), int(high or low))
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


def expected(expression: str, zone: str, start: datetime) -> list[datetime]:
    """The moments by the rule as it is told, found by looking at each minute."""
    minute, hour, _, _, weekday = expression.split()
    sets = field(minute, 59), field(hour, 23), field(weekday, 6)

    def fits(local: datetime) -> bool:
        return (
            local.minute in sets[0]
            and local.hour in sets[1]
            and (local.weekday() + 1) % 7 in sets[2]
        )

    shown = clock(zone, start)
    if minute.startswith("*") or hour.startswith("*"):
        return [moment for moment, local in shown if fits(local)]
    found = set()
    seen: set[datetime] = set()
    for (_, before), (moment, local) in pairwise(shown):
        skipped = before + MINUTE
        while skipped < local:
            if fits(skipped):
                found.add(moment)
            skipped += MINUTE
        if fits(local) and local not in seen:
            found.add(moment)
        seen.add(local)
    return sorted(found)


@given(st.sampled_from(CHANGES), minutes, hours, weekdays, st.integers(0, 2880))
def test_cron_over_a_change_of_the_clock_is_due_exactly_as_told(
    change: tuple[str, datetime], minute: str, hour: str, weekday: str, offset: int
) -> None:
    zone, start = change
    expression = f"{minute} {hour} * * {weekday}"
    after = start - DAY / 2 + offset * MINUTE

    found = occurrences(cron(expression, zone), after, start + 2 * DAY, limit=9999)

    moments = [m for m in expected(expression, zone, start) if after < m <= start + 2 * DAY]
    assert found == moments


@given(st.sampled_from(CHANGES), minutes, hours, weekdays)
def test_each_time_follows_from_the_one_before(
    change: tuple[str, datetime], minute: str, hour: str, weekday: str
) -> None:
    zone, start = change
    trigger = cron(f"{minute} {hour} * * {weekday}", zone)
    together = occurrences(trigger, start - DAY, start + 2 * DAY, limit=20)

    after, single = start - DAY, []
    for _ in together:
        following = next_time(trigger, after)
        assert following is not None
        single.append(following)
        after = following
    assert single == together


@pytest.mark.parametrize(("zone", "start"), CHANGES)
def test_every_minute_is_every_real_minute(zone: str, start: datetime) -> None:
    times = occurrences(cron("* * * * *", zone), start, start + DAY, limit=9999)

    assert times == [start + n * MINUTE for n in range(1, 1441)]


@pytest.mark.parametrize(("zone", "start"), CHANGES)
def test_a_daily_job_runs_once_a_day(zone: str, start: datetime) -> None:
    for hour in range(24):
        times = occurrences(cron(f"30 {hour} * * *", zone), start - 2 * DAY, start + 4 * DAY)
        days = [time.astimezone(ZoneInfo(zone)).date() for time in times]
        assert all(later - earlier == DAY for earlier, later in pairwise(days))


@pytest.mark.parametrize(
    ("expression", "zone", "after", "times"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", "03-29T01:00 03-30T00:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", "10-25T00:30 10-26T01:30"),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", "03-29T01:00 03-30T00:00"),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", "03-29T01:00 03-30T00:00"),
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30Z", "10-25T00:00 10-25T01:00 10-25T02:00"),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00Z", "10-03T15:30 10-04T15:15"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00Z", "04-04T14:45 04-05T15:15"),
        ("0 7 * * mon", "Europe/Berlin", "2026-06-01T06:00Z", "06-08T05:00"),
        ("0 0 1 JAN *", "UTC", "2025-06-01T06:00Z", "01-01T00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", "02-29T00:00"),
        ("*/5 1 29 2 *", "Europe/Berlin", "2026-01-01T00:00Z", "02-29T00:00 02-29T00:05"),
        ("0 0 L * *", "UTC", "2026-02-01T00:00Z", "02-28T00:00 03-31T00:00"),
        ("0 0 * * fri#2", "UTC", "2026-02-01T00:00Z", "02-13T00:00"),
        ("0 12 13 * 5", "UTC", "2026-02-01T00:00Z", "02-06T12:00 02-13T12:00"),
    ],
)
def test_times_known_by_hand(expression: str, zone: str, after: str, times: str) -> None:
    wanted = times.split()
    start = at(after)

    found = occurrences(cron(expression, zone), start, start + 5000 * DAY, limit=len(wanted))

    assert [time.strftime("%m-%dT%H:%M") for time in found] == wanted


def test_a_time_that_the_clock_shows_again_is_not_due_again() -> None:
    trigger = cron("45 2 * * *", "Europe/Berlin")
    second_pass = at("2026-10-25T02:10+01:00")

    assert next_time(trigger, second_pass) == at("2026-10-26T02:45+01:00")


@given(
    st.integers(1, 10**6),
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    st.integers(0, 999_999),
)
def test_an_interval_is_due_at_its_multiples(seconds: int, after: datetime, micro: int) -> None:
    after = after.replace(tzinfo=UTC, microsecond=micro)
    trigger = WorkflowTrigger(interval=seconds)

    times = occurrences(trigger, after, after + timedelta(seconds=3 * seconds))

    assert len(times) == 3
    assert all(int(time.timestamp()) % seconds == 0 and time > after for time in times)
    assert next_time(trigger, after) == times[0]
    assert times[0] - after <= timedelta(seconds=seconds)


def test_occurrences_end_at_the_limit_and_include_the_end() -> None:
    trigger = WorkflowTrigger(interval="15m")
    start = at("2026-06-01T10:00Z")

    assert occurrences(trigger, start, start + 15 * MINUTE) == [start + 15 * MINUTE]
    assert len(occurrences(trigger, start, start + DAY, limit=7)) == 7
    assert occurrences(trigger, start, start) == []


@pytest.mark.parametrize("kind", ["event", "webhook", "after"])
def test_what_follows_no_clock_has_no_times(kind: str) -> None:
    trigger = WorkflowTrigger(**{kind: "name"})
    now = at("2026-06-01T10:00Z")

    assert next_time(trigger, now) is None
    assert due(trigger, now - DAY, now) == []
    assert not trigger.is_scheduled
    assert trigger.kind == kind


@pytest.mark.parametrize(
    ("missed", "hours"), [("skip", []), ("once", [9]), ("all", [5, 6, 7, 8, 9])]
)
def test_what_was_missed_is_made_up_for_by_policy(missed: Any, hours: list[int]) -> None:
    trigger = cron("0 * * * *", missed=missed)

    times = due(trigger, at("2026-06-01T04:00Z"), at("2026-06-01T09:30Z"))

    assert [time.hour for time in times] == hours


@pytest.mark.parametrize("missed", ["skip", "once", "all"])
def test_what_is_due_now_starts_under_every_policy(missed: Any) -> None:
    trigger = cron("* * * * *", missed=missed)
    now = at("2026-06-01T09:30:20Z")

    assert due(trigger, now - MINUTE, now) == [at("2026-06-01T09:30Z")]
    assert due(trigger, at("2026-06-01T09:30Z"), now) == []


@pytest.mark.parametrize("gap", [1, 13, 400, 3000])
def test_the_latest_missed_time_is_found_after_any_downtime(gap: int) -> None:
    now = at("2026-06-01T09:30:20Z")

    assert due(cron("0 0 1 1 *"), now - gap * DAY, now) == (
        [at("2026-01-01T00:00Z")] if gap > 150 else []
    )
    assert due(cron("25 * * * *"), now - gap * DAY, now) == [at("2026-06-01T09:25Z")]


def test_all_makes_up_by_the_limit_and_the_oldest_first() -> None:
    now = at("2026-06-01T09:30Z")

    times = due(cron("0 * * * *", missed="all"), now - 90 * DAY, now, limit=3)

    first = at("2026-03-03T10:00Z")
    assert times == [first, first + timedelta(hours=1), first + timedelta(hours=2)]


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(WorkflowError, match="2026-06-01T00:00:00 has no time zone"):
        next_time(cron("* * * * *"), datetime(2026, 6, 1))
    with pytest.raises(WorkflowError, match="has no time zone"):
        occurrences(cron("* * * * *"), at("2026-06-01T00:00Z"), datetime(2026, 6, 1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "0 7 * *"}, "write five fields"),
        ({"cron": "0 0 7 * * mon"}, "write five fields"),
        ({"cron": "61 7 * * *"}, "bad minute: correct that field"),
        ({"cron": "0 7 * * monday"}, "bad day-of-week"),
        ({"cron": "0 7 30 2 *"}, "bad day-of-month"),
        ({"cron": "0 7 * * *", "timezone": "Europe/Berlim"}, "did you mean 'Europe/Berlin'?"),
        ({"cron": "0 7 * * *", "timezone": "xxxxxxx"}, "name one as in Europe/Berlin"),
        ({"interval": "1.5s"}, "give whole seconds"),
        ({"interval": "often"}, "write a duration as 45s, 2m, 1h30m or 2d"),
        ({"interval": 0}, "above zero"),
        ({}, "this one for nothing: give one of cron, interval, event, webhook, after"),
        ({"event": "a", "cron": "* * * * *"}, "waits for one thing, and this one for cron and event"),
        ({"interval": 5, "timezone": "UTC"}, "a timezone has no meaning for interval"),
        ({"event": "a", "missed": "all"}, "missed has no meaning for event"),
    ],
)  # fmt: skip
def test_a_bad_trigger_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WorkflowTrigger(**fields)
    assert words in str(caught.value)


def test_the_id_follows_from_what_the_trigger_says() -> None:
    trigger = WorkflowTrigger.model_validate({"interval": "15m", "with": {"a": 1}})

    assert trigger.id == WorkflowTrigger(interval=900, with_={"a": 1}).id
    assert trigger.id != WorkflowTrigger(interval=900).id
    assert trigger.kind == "interval"
    assert trigger.is_scheduled
    assert set(KINDS) == {"cron", "interval", "event", "webhook", "after"}
