"""The gate: what a model's plan must be before anybody acts on it.

Invariant: the gate only reads. It never repairs a plan, so what passes is the model's own; and it
says what is wrong in words that the model can act on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agents.vocabulary import ACTIONS, ENDINGS, READING, asked_for, content_words, says_what_to_do
from workflows.plan import PlanStep

__all__ = ["check_actions", "check_titles", "check_use", "check_verbs"]

_ALIKE = 0.7
_DEFAULT_ENDING = "Bring together"


def check_actions(job: str, actions: Sequence[str], ending: str | None) -> None:
    """Refuse what the job does not ask for.

    A job that names no known action may be served by reading; one that names no ending, by bringing
    the results together.
    """
    allowed = asked_for(ACTIONS, job) or READING
    for action in actions:
        if action not in allowed:
            raise ValueError(f"the job does not say {action!r}, but {', '.join(allowed)}")
    if ending is None:
        return
    endings = asked_for(ENDINGS, job) or [_DEFAULT_ENDING]
    # What is done with the parts may be done with the results too.
    if ending not in endings and ending != _DEFAULT_ENDING:
        raise ValueError(f"the job does not end with {ending!r}, but with {', '.join(endings)}")
    if ending == _DEFAULT_ENDING and ending not in endings and set(endings) - set(actions):
        raise ValueError(f"the job ends with {', '.join(endings)}")


def check_titles(
    job: str, titles: Sequence[str], *, longest: int, fewest: int = 3, whole: bool = True
) -> None:
    """Refuse too few steps, repetition, echoes of the job, cut words, and what is beside the point.

    Of a plan that is not `whole` yet, no step is taken to be the last one.
    """
    if whole and len(titles) < fewest:
        raise ValueError(f"it has {len(titles)} steps, and at least {fewest} are needed")
    wanted = content_words(job)
    known: list[set[str]] = []
    for number, title in enumerate(titles, start=1):
        words = content_words(title)
        if len(words) < 2 or not title[0].isalpha():
            raise ValueError(f"step {number} {title!r} does not say what to do")
        if len(title) >= longest:
            raise ValueError(f"step {number} is too long; use less than {longest} letters")
        # The last step may well be the job itself, once everything else is there.
        is_last = whole and number == len(titles)
        if not is_last and _alike(words, wanted) and len(words) >= len(wanted):
            raise ValueError(f"step {number} only repeats the job")
        if any(_alike(words, earlier) for earlier in known):
            raise ValueError(f"step {number} {title!r} repeats an earlier step")
        known.append(words)
    related = sum(bool(words & wanted) for words in known)
    if 2 * related < len(titles):
        raise ValueError("most steps have nothing to do with the job")


def check_verbs(titles: Sequence[str]) -> None:
    """Refuse titles that do not begin with a known English verb: the smallest models ramble."""
    for number, title in enumerate(titles, start=1):
        if not says_what_to_do(title):
            raise ValueError(f"step {number} {title!r} does not begin with a verb")


def check_use(
    steps: Sequence[PlanStep],
    parts: Collection[str],
    agents: Collection[str],
    *,
    whole: bool = True,
) -> None:
    """Refuse agents and parts that are not there, parts that nobody reads, and idle steps.

    While a plan is not `whole` yet, any part may still be read.
    """
    read = {name for step in steps for name in step.input_names}
    if strange := read - set(parts):
        raise ValueError(f"there is no part {min(strange)!r}")
    if whole and (unread := [part for part in parts if part not in read]):
        raise ValueError(f"no step reads the part {unread[0]!r}")
    for number, step in enumerate(steps, start=1):
        if step.agent not in agents:
            raise ValueError(f"step {number}: there is no agent {step.agent!r}")
        if any(not 1 <= needed < number for needed in step.needs):
            raise ValueError(f"step {number} needs a step that does not come before it")
        if parts and not step.needs and not step.input_names:
            raise ValueError(f"step {number} has neither a part nor an earlier step to work on")


def _alike(words: set[str], others: set[str]) -> bool:
    return bool(words) and len(words & others) / min(len(words), len(others) or 1) >= _ALIKE
