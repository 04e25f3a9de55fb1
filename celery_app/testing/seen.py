"""The checks of what was seen while a case ran: events of its work, the log, and alerts.

Invariant: only what the case's own database holds counts, and of that only what is of this repetition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from celery.exceptions import TimeoutError as NotInTime

from celery_app.celery import app, database, logs
from celery_app.observe.jobs import alert_file, alerts
from celery_app.security.policy import fits
from celery_app.store.alert_look import Alert
from celery_app.store.alerts import AlertStore
from celery_app.store.logs import LogFilter, StoredEvent
from celery_app.testing.attempt import Attempt, Work
from celery_app.testing.expected import Logged, Seen, TestCheck
from celery_app.testing.processes import wait_until
from celery_app.testing.results import TestError
from workflows.problem import nearest

__all__ = ["alert", "event", "log"]

_MANY = 100_000
#: Seconds that a worker is given to write what it has said.
_WRITTEN = 20.0


def event(_: Attempt, check: TestCheck, work: Work) -> None:
    """Raise `TestError` unless an event happened to the work of a step so often."""
    seen = check.event
    assert seen is not None
    handles = [work.handle] if work.handle else work.started
    found = [
        each
        for handle in handles
        for each in handle.events()
        # A Celery task is in a graph of its own, whose events are not meant.
        if work.inner in (None, each["task_id"])
        and seen.name in (None, each["kind"])
        and _has(json.dumps(each), seen.text)
    ]
    _require(len(found), seen.times, f"the event {seen.name or seen.text} happened")


def log(attempt: Attempt, check: TestCheck, work: Work) -> None:
    """Raise `TestError` unless something was said so often."""
    wanted = check.log
    assert wanted is not None
    _write(attempt)
    found = [each for each in _said(attempt, check, work) if _is_meant(each, wanted)]
    words = wanted.model_dump(exclude_unset=True, exclude={"times"})
    what = ", ".join(f"{key} {value}" for key, value in words.items()) or "anything"
    _require(len(found), wanted.times, f"the log has {what}", _told(found))


def _said(attempt: Attempt, check: TestCheck, work: Work) -> list[StoredEvent]:
    """Return what was said since the case began, or by what the step `of` has set going."""
    assert check.log is not None
    level, since = check.log.level, attempt.begun_at
    if check.of is None:
        return logs.find(LogFilter(level=level, since=since), limit=_MANY)
    handles = [work.handle] if work.handle else work.started
    if not handles:
        raise TestError(f"{work.name} is neither a job nor a run: leave out `of`")
    return [
        each
        for handle in handles
        for each in logs.find(LogFilter(trace_id=str(handle.id), level=level), limit=_MANY)
    ]


def _is_meant(stored: StoredEvent, wanted: Logged) -> bool:
    said = stored.event.event
    return fits(wanted.logger, said.logger) and _has(said.message, wanted.text)


def _told(found: Sequence[StoredEvent]) -> str:
    return found[-1].event.event.message if found else ""


def alert(attempt: Attempt, check: TestCheck, _: Work) -> None:
    """Raise `TestError` unless so many alerts fired."""
    seen = check.alert
    assert seen is not None
    names = [rule.name for rule in alert_file().rules]
    if seen.name is not None and seen.name not in names:
        raise TestError(f"there is no rule {seen.name!r} of alerts: {nearest(seen.name, names)}")
    _write(attempt)
    # Somebody else's look is waited for.
    wait_until(alerts().look, why="nobody gets to look at the rules of alerts")
    fired = [each for each in AlertStore(database).newest(limit=_MANY) if _is_new(attempt, each)]
    found = [each for each in fired if _is_about(each, seen)]
    what = f"an alert of {seen.name or 'any rule'} fired"
    _require(len(found), seen.times, what, found[0].message if found else "")


def _is_new(attempt: Attempt, found: Alert) -> bool:
    """Whether an alert fired, or fired again, in this repetition."""
    return found.last_at >= attempt.begun_at


def _is_about(found: Alert, seen: Seen) -> bool:
    return seen.name in (None, found.rule) and _has(found.message, seen.text)


def _write(attempt: Attempt) -> None:
    """Return when all that was said so far is in the table."""
    logs.flush()
    if attempt.about.apart:
        try:
            app.tasks["test.written"].delay().get(timeout=_WRITTEN)
        except NotInTime:
            raise TestError(f"no worker wrote its log within {_WRITTEN:g} s") from None


def _has(text: str, pattern: str | None) -> bool:
    return pattern is None or re.search(pattern, text) is not None


def _require(count: int, times: int | None, what: str, last: str = "") -> None:
    """Raise `TestError` unless something was there so often."""
    if count == times or (times is None and count):
        return
    wanted = "at least once" if times is None else f"{times} times"
    words = f"; the last: {last:.200}" if last else ""
    raise TestError(f"{what} {count} times, not {wanted}{words}")
