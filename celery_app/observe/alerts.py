"""`Alerts`: look at what was said and measured, and open, count and close alerts as the rules say.

Invariants
  * A look is one transaction: however many look, each thing is found once and told once.
  * What is silenced is kept as an alert, and told when the silence ends before the alert does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from celery_app.observe.alert_rules import (
    LEVELS,
    AbsenceRule,
    AlertFile,
    DeadlineRule,
    LevelRule,
    LogRule,
    PatternRule,
    RateRule,
    Rule,
    ThresholdRule,
)
from celery_app.security.policy import fits
from celery_app.store.alert_look import Alert, AlertLook, Hit, RunEvent
from celery_app.store.alerts import AlertStore
from celery_app.store.logs import StoredEvent

__all__ = ["Alerts", "Latest", "NotifyOf"]

#: Returns the newest value of a metric (`agents.error_rate`), or None if there is none.
Latest = Callable[[str], float | None]
#: Returns who is to be told when a run with the definition of this digest has failed.
NotifyOf = Callable[[str], Sequence[str]]

_Found = dict[str, dict[str, Hit]]
"""By rule and group, what was found in this look."""


class _Known(Protocol):
    """What is known of a rule; see `AlertLook.known`."""

    since: datetime
    met_at: datetime | None
    hit_at: datetime | None


class Alerts:
    """Looks at the rules.

    Args:
        store: Where alerts are kept.
        file: The rules.
        latest: Gives the values of metrics.
        notify_of: Gives who is told of failed runs.
        system: The name of this system, for whoever is told.
    """

    def __init__(
        self,
        store: AlertStore,
        file: AlertFile,
        latest: Latest,
        notify_of: NotifyOf,
        system: str = "ai-agent-system",
    ) -> None:
        self._store = store
        self._rules: list[Rule] = file.rules
        self._latest = latest
        self._notify_of = notify_of
        self._system = system

    def look(self, not_within: float = 0.0) -> bool:
        """Look once, unless somebody is at it, or was within so many seconds; return whether it was done."""
        return self._store.look(self._look, not_within)

    def _look(self, look: AlertLook) -> None:
        before = {alert.id for alert in look.open()}
        found = self._found(look)
        events = look.new_events()
        for rule in self._rules:
            self._judge(look, rule, found[rule.name], events)
        self._close_of_gone_rules(look)
        self._tell(look, before)
        for event in events:
            if event.kind == "failed" and event.digest is not None:
                self._tell_of_run(look, event)

    def _found(self, look: AlertLook) -> _Found:
        """Return what the rules about logs find in what is new."""
        found: _Found = defaultdict(dict)
        rules = [rule for rule in self._rules if isinstance(rule, LogRule)]
        mildest = min((rule.level for rule in rules), key=LEVELS.index, default=None)
        for batch in look.new_logs(mildest):
            for stored in batch:
                for rule in rules:
                    if rule.matches(stored.event):
                        _add(found[rule.name], rule.group(stored.event), stored)
        return found

    def _judge(
        self, look: AlertLook, rule: Rule, found: dict[str, Hit], events: Iterable[RunEvent]
    ) -> None:
        known: _Known = look.known(rule.name, rule.digest)
        match rule:
            case LevelRule() | PatternRule():
                self._judge_words(look, rule, found)
            case RateRule():
                self._judge_rate(look, rule, found)
            case AbsenceRule():
                self._judge_absence(look, rule, found, known)
            case ThresholdRule():
                self._judge_threshold(look, rule, known)
            case DeadlineRule():
                self._judge_deadlines(look, rule, events)

    def _judge_words(
        self, look: AlertLook, rule: LevelRule | PatternRule, found: dict[str, Hit]
    ) -> None:
        for hit in found.values():
            look.fire(rule.name, rule.severity, hit)
        for alert in look.open(rule.name):
            quiet = look.now - alert.last_at
            if alert.about not in found and quiet >= timedelta(seconds=rule.resolve_after):
                look.resolve(alert)

    def _judge_rate(self, look: AlertLook, rule: RateRule, found: dict[str, Hit]) -> None:
        counts = look.count(rule.name, found.values(), rule.within)
        open_ = {alert.about: alert for alert in look.open(rule.name)}
        for about, number in counts.items():
            if number > rule.more_than and (about in found or about not in open_):
                last = found.get(about) or Hit(about, "")
                words = f"{number} times within {rule.within:g} s, more than {rule.more_than}"
                message = f"{words}; the last: {last.message}"
                look.fire(rule.name, rule.severity, _with(last, message))
        for about, alert in open_.items():
            if counts.get(about, 0) <= rule.more_than:
                look.resolve(alert)

    def _judge_absence(
        self, look: AlertLook, rule: AbsenceRule, found: dict[str, Hit], known: _Known
    ) -> None:
        seen = [hit.at for hit in found.values() if hit.at is not None]
        last = max([*seen, *([known.hit_at] if known.hit_at else [])], default=None)
        look.remember(rule.name, met_at=None, hit_at=last)
        quiet = (look.now - max(last or known.since, known.since)).total_seconds()
        open_ = look.open(rule.name)
        if quiet > rule.within and not open_:
            words = f"nothing of the kind for {quiet:.0f} s, and {rule.within:g} s are allowed"
            look.fire(rule.name, rule.severity, Hit("", words))
        for alert in open_:
            if quiet <= rule.within:
                look.resolve(alert)

    def _judge_threshold(self, look: AlertLook, rule: ThresholdRule, known: _Known) -> None:
        value = self._latest(rule.metric)
        if value is None:
            return
        crossed = rule.is_crossed(value)
        met_at = (known.met_at or look.now) if crossed else None
        look.remember(rule.name, met_at=met_at, hit_at=None)
        open_ = look.open(rule.name)
        long_enough = met_at is not None and (
            (look.now - met_at).total_seconds() >= (rule.lasting or 0)
        )
        if long_enough and not open_:
            words = f"{rule.metric} is {value:g}, {rule.words}"
            look.fire(rule.name, rule.severity, Hit("", words))
        for alert in open_:
            if not crossed:
                look.resolve(alert)

    def _judge_deadlines(
        self, look: AlertLook, rule: DeadlineRule, events: Iterable[RunEvent]
    ) -> None:
        at_risk = [event for event in events if event.kind == "at-risk"]
        for event in at_risk:
            words = f"run {event.root_id}: {event.task_id} will miss its deadline"
            hit = Hit(f"run={event.root_id}", words, 1, None, event.task_id, event.root_id)
            look.fire(rule.name, rule.severity, hit)
        fresh = {event.root_id for event in at_risk}
        for alert in look.open(rule.name):
            root_id = alert.about.removeprefix("run=")
            if root_id not in fresh and look.at_risk(root_id) is False:
                look.resolve(alert)

    def _close_of_gone_rules(self, look: AlertLook) -> None:
        names = {rule.name for rule in self._rules}
        for alert in look.open():
            if alert.rule not in names:
                look.resolve(alert)

    def _tell(self, look: AlertLook, before: set[int]) -> None:
        """Put into the outbox what is new, rule by rule: what fired, and what of the told is over."""
        silences = look.silences()
        now_open = look.open()
        unheard = [
            alert for alert in now_open if alert.silenced and not _is_silenced(alert, silences)
        ]
        for alert in unheard:
            look.speak(alert)
        self._announce(look, "firing", unheard)
        gone = before - {alert.id for alert in now_open}
        over = [alert for alert in look.by_ids(gone) if not alert.silenced]
        self._announce(look, "resolved", over)

    def _announce(self, look: AlertLook, state: str, alerts: Sequence[Alert]) -> None:
        rules = {rule.name: rule for rule in self._rules}
        of_rule: dict[str, list[Alert]] = defaultdict(list)
        for alert in alerts:
            of_rule[alert.rule].append(alert)
        for name, each in of_rule.items():
            for notifier in rules[name].notify if name in rules else ():
                body = {
                    "kind": state,
                    "system": self._system,
                    "rule": name,
                    "severity": each[0].severity,
                    "at": look.now.isoformat(),
                    "alerts": [alert.as_json() for alert in each],
                }
                look.tell(notifier, f"rule {name}", body)

    def _tell_of_run(self, look: AlertLook, event: RunEvent) -> None:
        assert event.digest is not None, "a run has a definition"
        for notifier in self._notify_of(event.digest):
            error = look.error_of(event.task_id)
            body = {
                "kind": "run-failed",
                "system": self._system,
                "severity": "warning",
                "at": look.now.isoformat(),
                "workflow": event.workflow,
                "run_id": event.task_id,
                "error": {"type": error.get("type"), "message": error.get("message")},
            }
            look.tell(notifier, f"run {event.task_id}", body)


def _add(found: dict[str, Hit], about: str, stored: StoredEvent) -> None:
    event = stored.event
    before = found.get(about)
    found[about] = Hit(
        about,
        f"{event.event.logger}: {event.event.message}"[:2000],
        before.count + 1 if before else 1,
        event.timestamp,
        # An alert belongs to the run that it began with.
        before.task_id if before else event.task_id,
        before.root_id if before else event.trace_id,
    )


def _with(hit: Hit, message: str) -> Hit:
    return Hit(hit.about, message, hit.count, hit.at, hit.task_id, hit.root_id)


def _is_silenced(alert: Alert, silences: Iterable[tuple[str, str]]) -> bool:
    return any(fits(rule, alert.rule) and fits(about, alert.about) for rule, about in silences)
