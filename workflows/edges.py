"""Which step waits for which: `needs` as written, as left out, and as a fallback has them.

A step without `needs` follows the step above it that is no fallback. A fallback waits for the step
that it stands in for, and for nothing else.

Invariant: only `aftermath` trusts the steps to be sound. Elsewhere ids that are unknown or in a circle
stay as they are, so that whoever checks them can name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from workflows.step import WorkflowStep

__all__ = ["aftermath", "downstream", "fallbacks", "needs", "upstream", "waits_for"]


def fallbacks(steps: Iterable[WorkflowStep]) -> dict[str, str]:
    """Return the steps that are fallbacks, each with the step that it stands in for."""
    found: dict[str, str] = {}
    for step in steps:
        if step.fallback is not None:
            found.setdefault(step.fallback, step.id)
    return found


def needs(steps: Sequence[WorkflowStep]) -> dict[str, tuple[str, ...]]:
    """Return what each step waits for."""
    standing_in = fallbacks(steps)
    needed: dict[str, tuple[str, ...]] = {}
    above: tuple[str, ...] = ()
    for step in steps:
        if step.id in standing_in:
            needed.setdefault(step.id, (standing_in[step.id],))
            continue
        waits = above if step.needs is None else tuple(dict.fromkeys(step.needs))
        # Of two steps with one id the first has it.
        needed.setdefault(step.id, waits)
        above = (step.id,)
    return needed


def waits_for(steps: Sequence[WorkflowStep]) -> dict[str, tuple[str, ...]]:
    """Return what must have ended, however it did, before it is known whether each step runs.

    That is what the step needs, and what may stand in for that.
    """
    fallback = {step.id: step.fallback for step in steps}
    waits = {}
    for step_id, needed in needs(steps).items():
        found = dict.fromkeys(needed)
        stack = [] if step_id in fallback.values() else list(needed)
        while stack:
            instead = fallback.get(stack.pop())
            if instead is not None and instead not in found:
                found[instead] = None
                stack.append(instead)
        waits[step_id] = tuple(found)
    return waits


def downstream(needed: Mapping[str, Sequence[str]], begin: Iterable[str]) -> frozenset[str]:
    """Return the given steps and all that follows them."""
    after: dict[str, list[str]] = {}
    for step_id, earlier in needed.items():
        for each in earlier:
            after.setdefault(each, []).append(step_id)
    found: set[str] = set()
    stack = list(begin)
    while stack:
        step_id = stack.pop()
        if step_id not in found:
            found.add(step_id)
            stack.extend(after.get(step_id, ()))
    return frozenset(found)


def upstream(needed: Mapping[str, Sequence[str]], step: str) -> frozenset[str]:
    """Return all that has ended when `step` starts."""
    found: set[str] = set()
    stack = list(needed.get(step, ()))
    while stack:
        earlier = stack.pop()
        if earlier not in found:
            found.add(earlier)
            stack.extend(needed.get(earlier, ()))
    return frozenset(found)


def aftermath(steps: Sequence[WorkflowStep]) -> frozenset[str]:
    """Return the steps that run on failure or always, and all that follows them."""
    return downstream(needs(steps), (step.id for step in steps if step.run_on != "success"))
