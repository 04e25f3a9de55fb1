"""The part `alerts` of a project's spec as a rule of its own.

Invariant: the rule is called `project:NAME`, as no rule of a file can be; what it tells of is its group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from celery_app.store.alert_look import Alert, AlertLook, Hit
from celery_app.store.project_watch import WatchedProject

__all__ = ["ProjectRule", "is_of_project", "judge_projects"]

_OF_PROJECT = "project:"


@dataclass(frozen=True)
class ProjectRule:
    """What a project is to be told of, and how it stands."""

    project: WatchedProject

    @property
    def name(self) -> str:
        """What silences and notifiers call it."""
        return f"{_OF_PROJECT}{self.project.name}"

    @property
    def notify(self) -> Sequence[str]:
        """The notifiers that the project names."""
        return self.project.alerts.notify

    def hits(self) -> Iterator[Hit]:
        """Yield what is so that somebody is to be told, each with a group of its own."""
        share, most = self.project.alerts.budget, self.project.alerts.failed_tasks
        for each in self.project.budget:
            if share is not None and each.used >= share * each.limit:
                said = f"{each.used:.0f} of {each.limit:g} {each.what} are used, {share:.0%} are told of"
                yield Hit(f"budget={each.what}", self._words(said))
        if most is not None and self.project.failed_tasks >= most:
            said = f"failed tasks that keep goals from being reached: {self.project.failed_tasks}"
            yield Hit("failed_tasks", self._words(said))

    def _words(self, said: str) -> str:
        return f"project {self.project.name}: {said}"


def is_of_project(alert: Alert) -> bool:
    """Tell whether an alert comes of the rule of a project."""
    return alert.rule.startswith(_OF_PROJECT)


def judge_projects(look: AlertLook, rules: Sequence[ProjectRule]) -> None:
    """Open an alert for what is so by now, and close those of what is not so any more."""
    found = {(rule.name, hit.about): hit for rule in rules for hit in rule.hits()}
    open_ = {(alert.rule, alert.about): alert for alert in look.open() if is_of_project(alert)}
    for key in found.keys() - open_.keys():
        look.fire(key[0], "warning", found[key])
    for key in open_.keys() - found.keys():
        look.resolve(open_[key])
