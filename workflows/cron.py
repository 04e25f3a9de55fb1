"""Cron expressions in a time zone, over changes of daylight saving.

The fields are read as Debian's cron reads them (five fields, names such as mon and jan, and also L,
LW and #). So are the changes of the clock:

- A job whose minute and hour are both given (`30 2 * * *`) keeps local time. A time that the clock
  skips in spring is made up for at the first moment after the gap; a time that the clock shows twice
  in autumn counts the first time only.
- A job whose minute or hour begins with `*` (`*/15 * * * *`, `* 2 * * *`) is due at each real minute
  at which the local clock shows a time that fits: not at all in a gap, twice in an hour shown twice.

Invariant: moments rise strictly and are in UTC; the same expression gives the same ones wherever and
whenever it is asked. cronsim only ever sees naive local times: its own handling of zones loses times
where the clock moves by half an hour (Lord Howe).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

__all__ = ["cron_fault", "moments"]

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
# Whatever fires at all fires within fifty years of here; cronsim looks no further.
_ANY_TIME = datetime(2000, 1, 1)


def cron_fault(expression: str) -> str | None:
    """Return what is wrong with the expression in one sentence, or None."""
    if len(expression.split()) != 5:
        return "write five fields: minute, hour, day of month, month, day of week"
    try:
        next(CronSim(expression, _ANY_TIME))
    except CronSimError as error:
        return f"{str(error).lower()}: correct that field"
    except StopIteration:
        return "there is no such day: it would never be due"
    return None


def moments(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the moments (in UTC) at which the expression is due, later than the aware `after`."""
    minute, hour = expression.split()[:2]
    often = minute.startswith("*") or hour.startswith("*")
    last = after.astimezone(UTC)
    for moment in (_often if often else _local)(expression, zone, last):
        # Two local times in one gap are made up for at one moment.
        if moment > last:
            yield moment
            last = moment


def _local(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    for naive in CronSim(expression, _naive(after, zone)):
        moment = naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if _naive(moment, zone) != naive:
            moment = _change(naive.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)
        yield moment


def _often(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    begin = after.replace(microsecond=0) + _SECOND
    while True:
        # Until the clock changes, local time and UTC differ by a constant.
        offset, end = _offset(begin, zone), begin + _DAY
        changes = _offset(end, zone) != offset
        if changes:
            end = _change(begin, end, zone)
        for naive in CronSim(expression, _naive(begin, zone) - _SECOND):
            moment = naive.replace(tzinfo=UTC) - offset
            if moment >= end:
                break
            yield moment
        else:
            return
        # Nothing is due for long: no need to go there day by day.
        begin = end if changes else max(end, moment - _DAY)


def _change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """Return the first second after `low` at which the clock is as at `high`."""
    new = _offset(high, zone)
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (low, middle) if _offset(middle, zone) == new else (middle, high)
    return high


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _naive(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)
