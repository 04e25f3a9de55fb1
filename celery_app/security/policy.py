"""`Policy`: who may do what, as policies.yaml says. Pure: it reads one file, and nothing else.

Invariants
  * The rules are read from the top, and the first that fits decides. Where none fits, the default
    decides, which is to deny.
  * A rule that could never fit (an unknown role, action or kind of resource) is refused with its line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from celery_app.errors import ConfigurationError
from celery_app.refusals import refusal
from celery_app.sections import Section
from celery_app.sources import Source
from workflows.task import SecurityLevel

__all__ = ["ACTIONS", "RESOURCES", "SUBJECTS", "Decision", "Policy", "Request", "Rule", "When"]

#: What can be done, and to what.
ACTIONS = {
    "task.submit": "hand in a task (agent:NAME, capability:NAME, or celery:NAME of a Celery task)",
    "task.read": "see tasks, their results and events (task:ID)",
    "task.cancel": "cancel a task (task:ID)",
    "task.retry": "try a failed task again (task:ID)",
    "task.run": "perform a task: a worker for an agent (agent:NAME), an agent itself (task:ID)",
    "tool.use": "let an agent use a tool (tool:NAME)",
    "workflow.run": "start, resume or fork a workflow (workflow:NAME)",
    "workflow.read": "see runs and definitions (workflow:NAME)",
    "workflow.cancel": "cancel a run (workflow:NAME)",
    "workflow.answer": "approve or reject what a step asks (workflow:NAME)",
    "workflow.change": "register a workflow, change its triggers (workflow:NAME)",
    "event.emit": "tell that an event has happened (event:NAME)",
    "budget.change": "change budgets (project:NAME, task:ID)",
    "project.read": "see projects, their plans, timelines and artifacts (project:NAME)",
    "project.change": "create, plan, run and accept projects (project:NAME)",
    "document.read": "see documents, their versions and differences (document:PROJECT/TYPE)",
    "document.change": "write and restore documents (document:PROJECT/TYPE)",
    "token.change": "make and revoke tokens (token:NAME)",
    "system.read": "see how the system does (system:NAME)",
    "system.change": "change keys and the audit (system:NAME)",
}
RESOURCES = (
    "agent", "capability", "celery", "document", "event", "project", "system", "task", "token", "tool",
    "workflow",
)  # fmt: skip

#: Who can ask.
SUBJECTS = ("user", "token", "worker", "agent", "trigger")

_LEVELS = list(SecurityLevel)


@lru_cache(maxsize=4096)
def fits(pattern: str, name: str) -> bool:
    """Tell whether a name is one that a pattern means; `*` stands for any run of characters."""
    parts = map(re.escape, pattern.split("*"))
    return re.fullmatch(".*".join(parts), name, re.DOTALL) is not None


@dataclass(frozen=True)
class Request:
    """What somebody wants to do: an action on a resource, with what the task asks for, if it is one."""

    action: str
    resource: str
    capabilities: frozenset[str] = frozenset()
    level: SecurityLevel = SecurityLevel.INTERNAL


class When(Section):
    """Under which conditions a rule fits.

    The task asks for one of `capabilities`; its level is not below `level_from`, not above `level_to`.
    """

    capabilities: list[str] = Field(default=[])
    level_from: SecurityLevel | None = None
    level_to: SecurityLevel | None = None

    def why_not(self, request: Request) -> str | None:
        """Return which condition does not hold."""
        level = _LEVELS.index(request.level)
        if self.capabilities and not request.capabilities & set(self.capabilities):
            return f"it asks for none of {', '.join(self.capabilities)}"
        if self.level_from is not None and level < _LEVELS.index(self.level_from):
            return f"its level {request.level} is below {self.level_from}"
        if self.level_to is not None and level > _LEVELS.index(self.level_to):
            return f"its level {request.level} is above {self.level_to}"
        return None


class Rule(Section):
    """Who may (or may not) do what on what. `*` in a name stands for any run of characters."""

    effect: Literal["allow", "deny"]
    who: list[str] = Field(min_length=1)
    may: list[str] = Field(min_length=1)
    resources: list[str] = Field(["*"], min_length=1)
    when: When = When()

    def why_not(self, subject: str, roles: Collection[str], request: Request) -> str | None:
        """Return why it does not fit a subject with these roles; None if it does."""
        if not any(_means(pattern, subject, roles) for pattern in self.who):
            return f"it is about {', '.join(self.who)}"
        if not any(fits(pattern, request.action) for pattern in self.may):
            return f"it is about {', '.join(self.may)}"
        if not any(fits(pattern, request.resource) for pattern in self.resources):
            return f"it is about {', '.join(self.resources)}"
        return self.when.why_not(request)


def _means(pattern: str, subject: str, roles: Collection[str]) -> bool:
    # A subject that calls itself role:operator has no role by that.
    role = pattern.removeprefix("role:")
    return any(fits(role, each) for each in roles) if role != pattern else fits(pattern, subject)


class PolicyFile(Section):
    """The keys of policies.yaml."""

    version: Literal[1] = 1
    roles: dict[str, str] = Field(default={})
    subjects: dict[str, list[str]] = Field(default={})
    rules: list[Rule] = Field(default=[])


@dataclass(frozen=True)
class Decision:
    """Whether it is allowed, and why: the place of the rule, or None where no rule fits."""

    allowed: bool
    rule: str | None
    why: str


class Policy:
    """Decides who may do what.

    Args:
        file: What policies.yaml says.
        places: Where each rule is written.
        default: What happens where no rule fits.
    """

    def __init__(
        self, file: PolicyFile, places: list[str], default: Literal["allow", "deny"] = "deny"
    ) -> None:
        self._file = file
        self._places = places
        self._default = default

    @classmethod
    def load(cls, path: Path, default: Literal["allow", "deny"] = "deny") -> Self:
        """Read a file. Raises `ConfigurationError` with the line of the first mistake."""
        source = Source.read(path)
        try:
            file = PolicyFile.model_validate(source.values)
        except ValidationError as error:
            raise refusal(error, PolicyFile, source) from error
        places = [source.place(("rules", index)) for index in range(len(file.rules))]
        for index, mistake in _mistakes(file):
            raise ConfigurationError(f"{source.place(index)}: {mistake}")
        return cls(file, places, default)

    @classmethod
    def of_owner(cls, owner: str) -> Self:
        """Return the policy of a system that one person owns: they may do everything, no one else."""
        who = [owner, "worker:*", "agent:*", "trigger:*"]
        rule = Rule(effect="allow", who=who, may=["*"])
        return cls(PolicyFile(rules=[rule]), ["the embedded system's own rule"])

    def roles_of(self, subject: str) -> list[str]:
        """Return the roles that a subject has."""
        return [
            role
            for pattern, roles in self._file.subjects.items()
            if fits(pattern, subject)
            for role in roles
        ]

    def decide(self, subject: str, request: Request) -> Decision:
        """Decide about one request."""
        for place, rule, why_not in self.considered(subject, request):
            if why_not is None:
                told = f"{rule.effect} by the rule at {place}"
                return Decision(rule.effect == "allow", place, told)
        allowed = self._default == "allow"
        return Decision(allowed, None, f"no rule fits, and the default is {self._default}")

    def explain(self, subject: str, wanted: Request) -> dict[str, Any]:
        """Return the decision as a document, with the rules before it and why they do not fit."""
        decision = self.decide(subject, wanted)
        before = takewhile(lambda each: each[2] is not None, self.considered(subject, wanted))
        return {
            "allowed": decision.allowed,
            "rule": decision.rule,
            "why": decision.why,
            "subject": subject,
            "roles": self.roles_of(subject),
            "passed_over": [{"rule": place, "why": why} for place, _, why in before],
        }

    def considered(self, subject: str, request: Request) -> Iterator[tuple[str, Rule, str | None]]:
        """Yield the rules in their order: place, rule, and why it does not fit (None if it does)."""
        roles = self.roles_of(subject)
        for place, rule in zip(self._places, self._file.rules, strict=True):
            yield place, rule, rule.why_not(subject, roles, request)


def _mistakes(file: PolicyFile) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for subject, roles in file.subjects.items():
        if (mistake := _not_somebody(subject)) is not None:
            yield ("subjects", subject), mistake
        for role in roles:
            if role not in file.roles:
                yield (
                    ("subjects", subject),
                    f"{subject} has the role {role!r}{_near(role, file.roles)}",
                )
    for index, rule in enumerate(file.rules):
        for key, mistake in _mistakes_in(rule, file.roles):
            yield ("rules", index, key), mistake


def _mistakes_in(rule: Rule, roles: Collection[str]) -> Iterator[tuple[str, str]]:
    for who in rule.who:
        # A rule about nobody would deny nobody.
        if not who.startswith("role:") and (mistake := _not_somebody(who)) is not None:
            yield "who", mistake
    asked = [who.removeprefix("role:") for who in rule.who if who.startswith("role:")]
    kinds = [resource.partition(":")[0] for resource in rule.resources]
    for key, what, patterns, known in (
        ("who", "role", asked, roles),
        ("may", "action", rule.may, ACTIONS),
        ("resources", "resource", kinds, RESOURCES),
    ):
        for pattern in patterns:
            if not any(fits(pattern, name) for name in known):
                yield key, f"there is no {what} {pattern!r}{_near(pattern, known)}"


def _not_somebody(pattern: str) -> str | None:
    kind, colon, _ = pattern.partition(":")
    if any(fits(kind, name) for name in SUBJECTS) and (colon or "*" in kind):
        return None
    return f"{pattern!r} is nobody: write KIND:NAME{_near(kind, SUBJECTS)}"


def _near(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f": did you mean {near[0]}?" if near else f": known are {', '.join(known) or 'none'}"


def request(
    action: str,
    resource: str,
    capabilities: Collection[Any] = (),
    level: SecurityLevel = SecurityLevel.INTERNAL,
) -> Request:
    """Return a request. Raises `ConfigurationError` for an action or a resource that does not exist."""
    if action not in ACTIONS:
        raise ConfigurationError(f"there is no action {action!r}{_near(action, ACTIONS)}")
    kind, colon, _ = resource.partition(":")
    if kind not in RESOURCES or not colon:
        raise ConfigurationError(
            f"{resource!r} is no resource: write KIND:NAME, where KIND is one of {', '.join(RESOURCES)}"
        )
    return Request(action, resource, frozenset(map(str, capabilities)), level)
