"""`WorkflowTrigger`: what starts a workflow, and when the ones that follow a clock are due.

    cron      "0 7 * * mon" with a timezone (UTC unless given); see `workflows.cron`
    interval  15m: at the multiples of it since 1970-01-01 00:00 UTC, so 1h is due on the hour
    event     an event of that name
    webhook   a signed call of that name
    after     another workflow, when a run of it succeeded

Invariant: when a trigger is due depends on the trigger alone, never on when or by whom it is asked.
So two schedulers name the same moments, and one row for each keeps them from starting two runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Literal, Self
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from workflows.cron import cron_fault, moments
from workflows.durations import Duration
from workflows.errors import WorkflowError
from workflows.problem import nearest
from workflows.storable import FilledText, JsonObject, Name

__all__ = ["KINDS", "WorkflowTrigger", "due", "next_time", "occurrences", "trigger_faults"]

KINDS = ("cron", "interval", "event", "webhook", "after")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEDULED = ("cron", "interval")


def _cron(expression: str) -> str:
    if fault := cron_fault(expression):
        raise ValueError(fault)
    return expression


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        advice = nearest(name, available_timezones(), "name one as in Europe/Berlin")
        raise ValueError(f"there is no such time zone: {advice}") from None
    return name


def _whole(seconds: float) -> float:
    if seconds != int(seconds):
        raise ValueError("give whole seconds")
    return seconds


class WorkflowTrigger(BaseModel):
    """What starts a workflow. `with` gives the inputs; there, `run.event` is the event's payload."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    cron: Annotated[FilledText, AfterValidator(_cron)] | None = Field(
        None, description="Minute, hour, day of month, month, day of week."
    )
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        None, description="As in Europe/Berlin; UTC if left out."
    )
    interval: Annotated[Duration, AfterValidator(_whole)] | None = Field(
        None, description="At the multiples of this duration since 1970, UTC."
    )
    event: Name | None = Field(None, description="Name of an event.")
    webhook: Name | None = Field(None, description="Name under which it is called.")
    after: Name | None = Field(None, description="A workflow, when a run of it succeeded.")
    with_: JsonObject = Field(default_factory=dict, alias="with", description="The inputs.")
    missed: Literal["skip", "once", "all"] = Field(
        "once", description="Which of the times that passed while nobody looked are made up for."
    )

    @property
    def kind(self) -> str:
        """What it waits for: one of `KINDS`."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def is_scheduled(self) -> bool:
        """Whether it follows a clock."""
        return self.kind in _SCHEDULED

    @property
    def id(self) -> UUID:
        """Follows from what it says: a changed trigger is another one."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return uuid5(NAMESPACE_URL, f"ai-agent:trigger:{json.dumps(said, sort_keys=True)}")

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if faults := list(trigger_faults(self)):
            raise ValueError("; ".join(faults))
        return self


def trigger_faults(trigger: WorkflowTrigger) -> Iterator[str]:
    """Yield what does not go together."""
    kinds = [kind for kind in KINDS if getattr(trigger, kind) is not None]
    if len(kinds) != 1:
        named = " and ".join(kinds) or "nothing"
        yield f"a trigger waits for one thing, and this one for {named}: give one of {', '.join(KINDS)}"
    elif trigger.timezone is not None and trigger.cron is None:
        yield f"a timezone has no meaning for {kinds[0]}: drop it, or write a cron"
    elif "missed" in trigger.model_fields_set and kinds[0] not in _SCHEDULED:
        yield f"missed has no meaning for {kinds[0]}, which has no times: drop it"


def next_time(trigger: WorkflowTrigger, after: datetime) -> datetime | None:
    """Return when the trigger is due next, later than `after`; None if it follows no clock."""
    return next(_times(trigger, after), None)


def occurrences(
    trigger: WorkflowTrigger, after: datetime, until: datetime, limit: int = 1000
) -> list[datetime]:
    """Return when the trigger is due, later than `after` and up to `until`: the first `limit`."""
    _check_aware(until)
    times: list[datetime] = []
    for moment in islice(_times(trigger, after), limit):
        if moment > until:
            break
        times.append(moment)
    return times


def due(
    trigger: WorkflowTrigger,
    after: datetime,
    now: datetime,
    *,
    grace: timedelta = timedelta(minutes=1),
    limit: int = 1000,
) -> list[datetime]:
    """Return the times later than `after`, the last one started, for which runs start now.

    Times older than `grace` were missed. `skip` forgets them, `once` makes up for the latest if
    nothing else is due, and `all` makes up for each, the oldest first and `limit` at a time.
    """
    if trigger.missed == "all":
        return occurrences(trigger, after, now, limit)
    times = occurrences(trigger, max(after, now - grace), now, limit)
    if times or trigger.missed == "skip":
        return times
    latest = _latest(trigger, after, now - grace)
    return [] if latest is None else [latest]


def _latest(trigger: WorkflowTrigger, after: datetime, until: datetime) -> datetime | None:
    # Downtime may have been long, and a cron of every minute has many times: look back by and by.
    window = timedelta(hours=1)
    while until > after:
        begin = max(after, until - window)
        latest = None
        for moment in _times(trigger, begin):
            if moment > until:
                break
            latest = moment
        if latest is not None or begin == after:
            return latest
        window *= 8
    return None


def _times(trigger: WorkflowTrigger, after: datetime) -> Iterator[datetime]:
    _check_aware(after)
    if trigger.cron is not None:
        yield from moments(trigger.cron, ZoneInfo(trigger.timezone or "UTC"), after)
    elif trigger.interval is not None:
        step = timedelta(seconds=trigger.interval)
        number = (after.astimezone(UTC) - _EPOCH) // step
        while True:
            number += 1
            yield _EPOCH + number * step


def _check_aware(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise WorkflowError(f"{moment.isoformat()} has no time zone: give an aware time")
