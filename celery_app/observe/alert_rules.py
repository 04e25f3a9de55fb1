"""config/alerts.yaml: what is worth telling somebody, and how they are told.

Invariant: a rule that is not understood, or names a notifier that is not there, is refused with its line.
"""

from __future__ import annotations

import hashlib
import re
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, ValidationError, model_validator

from celery_app.errors import ConfigurationError
from celery_app.observe.figure_path import checked_path
from celery_app.records import EnrichedLogEvent, LogLevel
from celery_app.refusals import refusal
from celery_app.sections import Port, Protected, Section
from celery_app.security.policy import fits
from celery_app.sources import Source
from workflows.durations import Duration

__all__ = [
    "LEVELS",
    "AbsenceRule",
    "AlertFile",
    "DeadlineRule",
    "EmailNotifier",
    "LevelRule",
    "LogNotifier",
    "LogRule",
    "Notifier",
    "PatternRule",
    "RateRule",
    "Rule",
    "ThresholdRule",
    "WebhookNotifier",
]

Severity = Literal["info", "warning", "critical"]
Group = Literal["logger", "level", "task", "run", "agent"]

LEVELS: tuple[LogLevel, ...] = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: What alerts themselves say must not make alerts.
ALERTS_LOGGER = "celery_app.alerts"


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from error
    return text


Expression = Annotated[str, AfterValidator(_expression)]


class Rule(Section):
    """What all rules have. `notify` names notifiers; `log` is always there."""

    kind: str
    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    severity: Severity = "warning"
    notify: list[str] = Field(default=["log"])

    @property
    def digest(self) -> str:
        """A mark of what the rule says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Return the public document of a rule: what it says, and its severity and notifiers."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {**said, "severity": self.severity, "notify": self.notify}


class LogRule(Rule):
    """A rule about what is kept of the logs.

    It looks at events of at least `level` whose logger is one that the pattern `logger` means (`*` stands
    for any characters), whose agent is `agent`, and whose message the regular expression `pattern` is found
    in. What it finds is grouped by `group_by`, and each group has an alert of its own.
    """

    level: LogLevel = "DEBUG"
    logger: str = "*"
    agent: str | None = None
    pattern: Expression | None = None
    group_by: list[Group] = Field(default=[])

    @cached_property
    def _expression(self) -> re.Pattern[str] | None:
        return re.compile(self.pattern) if self.pattern is not None else None

    def matches(self, event: EnrichedLogEvent) -> bool:
        """Tell whether the rule looks for such an event."""
        said = event.event
        if LEVELS.index(said.level) < LEVELS.index(self.level) or said.logger == ALERTS_LOGGER:
            return False
        if not fits(self.logger, said.logger) or self.agent not in (None, event.agent_id):
            return False
        return self._expression is None or self._expression.search(said.message) is not None

    def group(self, event: EnrichedLogEvent) -> str:
        """Return the group that an event belongs to; without `group_by` there is only one."""
        values: dict[Group, str | None] = {
            "logger": event.event.logger,
            "level": event.event.level,
            "task": event.task_id,
            "run": event.trace_id,
            "agent": event.agent_id,
        }
        return " ".join(f"{name}={values[name] or '-'}" for name in self.group_by)


class LevelRule(LogRule):
    """Somebody says something this bad; over when nobody has for `resolve_after`."""

    kind: Literal["level"]
    level: LogLevel = "ERROR"
    resolve_after: Duration = 600


class PatternRule(LogRule):
    """Somebody says something with these words; over when nobody has for `resolve_after`."""

    kind: Literal["pattern"]
    pattern: Expression
    resolve_after: Duration = 600


class RateRule(LogRule):
    """It is said more than `more_than` times `within` a time; over when it is not any more."""

    kind: Literal["rate"]
    more_than: PositiveInt
    within: Duration


class AbsenceRule(LogRule):
    """Nobody has said it `within` a time; over as soon as somebody does."""

    kind: Literal["absence"]
    within: Duration

    @model_validator(mode="after")
    def _has_no_groups(self) -> Self:
        if self.group_by:
            raise ValueError(
                "what nobody says has no groups: drop group_by, or write several rules"
            )
        return self


class ThresholdRule(Rule):
    """A metric is `above` or `below` a value, and has been `for` a time; over when it is not any more."""

    kind: Literal["threshold"]
    metric: Annotated[str, AfterValidator(checked_path)]
    above: float | None = None
    below: float | None = None
    lasting: Duration | None = Field(None, alias="for")

    @model_validator(mode="after")
    def _has_one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("give one of above and below")
        return self

    def is_crossed(self, value: float) -> bool:
        """Tell whether a value is one to tell of."""
        if self.above is not None:
            return value > self.above
        assert self.below is not None, "a rule has one side"
        return value < self.below

    @property
    def words(self) -> str:
        """The side, as people say it."""
        return f"above {self.above:g}" if self.above is not None else f"below {self.below:g}"


class DeadlineRule(Rule):
    """A task or a project will miss its deadline; one alert a run, over when it will not, or is over."""

    kind: Literal["deadline"]


class LogNotifier(Section):
    """Tells the log of the process that looks at the rules, as the logger `celery_app.alerts`."""

    kind: Literal["log"]


class WebhookNotifier(Protected):
    """Posts JSON to `url`, signed with what stands in `password_file`, if one is named."""

    kind: Literal["webhook"]
    url: str = Field(pattern=r"^https?://[^\s]+$")
    timeout: Duration = 10


class EmailNotifier(Protected):
    """Sends mail by a server; `tls` is `starttls` (the default), `tls` from the start, or `none`."""

    kind: Literal["email"]
    host: str
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    sender: str = Field(pattern=r"^[^\s@]+@[^\s@]+$")
    to: list[Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")]] = Field(min_length=1)
    timeout: Duration = 20


Notifier = LogNotifier | WebhookNotifier | EmailNotifier

_RULES: dict[str, type[Rule]] = {
    "level": LevelRule,
    "pattern": PatternRule,
    "rate": RateRule,
    "threshold": ThresholdRule,
    "absence": AbsenceRule,
    "deadline": DeadlineRule,
}
_NOTIFIERS: dict[str, type[Section]] = {
    "log": LogNotifier,
    "webhook": WebhookNotifier,
    "email": EmailNotifier,
}


class AlertFile(Section):
    """The rules and the notifiers of a file."""

    ALWAYS: ClassVar[str] = "log"

    version: Literal[1] = 1
    notifiers: dict[str, Any] = Field(default={})
    rules: list[Any] = Field(default=[])

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Read a file; without one there are no rules.

        Raises:
            ConfigurationError: Something in it is wrong; the line is told.
        """
        source = Source.read(path) if path is not None else Source()
        folder = path.parent if path is not None else Path()
        try:
            written = cls.model_validate(source.values)
        except ValidationError as error:
            raise refusal(error, cls, source) from error
        notifiers = {
            name: _read(source, ("notifiers", name), value, _NOTIFIERS, folder)
            for name, value in written.notifiers.items()
        }
        rules = [
            _read(source, ("rules", index), value, _RULES, folder)
            for index, value in enumerate(written.rules)
        ]
        made = written.model_copy(
            update={"notifiers": {cls.ALWAYS: LogNotifier(kind="log"), **notifiers}, "rules": rules}
        )
        made._check(source)
        return made

    def _check(self, source: Source) -> None:
        seen: set[str] = set()
        for index, rule in enumerate(self.rules):
            place = source.place(("rules", index, "name"))
            if rule.name in seen:
                raise ConfigurationError(f"{place}: there is another rule {rule.name!r}")
            seen.add(rule.name)
            for name in rule.notify:
                if name not in self.notifiers:
                    place = source.place(("rules", index, "notify"))
                    near = get_close_matches(name, self.notifiers, n=1)
                    known = f"did you mean {near[0]}?" if near else _known(self.notifiers)
                    raise ConfigurationError(f"{place}: there is no notifier {name!r}: {known}")


def _known(names: Any) -> str:
    return f"known are {', '.join(sorted(names))}"


def _read(
    source: Source, path: tuple[str | int, ...], value: Any, kinds: dict[str, Any], folder: Path
) -> Any:
    """Read one rule or notifier, as its kind says."""
    place = source.place(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in kinds:
        raise ConfigurationError(
            f"{source.place((*path, 'kind'))}: {'.'.join(map(str, path))} has the kind {kind!r}: "
            f"{_known(kinds)}"
        )
    model = kinds[kind]
    try:
        return model.model_validate(value, context={"folder": folder.absolute()})
    except ValidationError as error:
        inner = {
            key[len(path) :]: at for key, at in source.places.items() if key[: len(path)] == path
        }
        raise refusal(error, model, Source(value, inner, place)) from error
