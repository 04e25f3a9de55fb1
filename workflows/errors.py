"""What can be wrong with work as written, as one family.

AgentSystemError             the root of every error this system raises: exit 1
├── InvalidTask              a task, or a graph of tasks, cannot be accepted as given: exit 2
│   ├── CycleError           the dependencies run in a circle; the whole circle is named
│   ├── UnknownDependency    something depends on what is not there
│   └── UnknownCapability    no agent can do what the task requires
├── InvalidPlan              a plan breaks the rules for plans
└── IllegalTransition        a state cannot follow the state before it

Invariant: every message is one line that names the offending value and says what to do next.
"""

from __future__ import annotations

__all__ = [
    "AgentSystemError",
    "CycleError",
    "IllegalTransition",
    "InvalidPlan",
    "InvalidTask",
    "UnknownCapability",
    "UnknownDependency",
]


class AgentSystemError(Exception):
    """The root of every error this system raises.

    `exit_code` is what a command line program ends with when the error reaches its door.
    `counts_as_try` is false where a task that met the error has done nothing yet: somebody whom it
    needs is away, and it is to be tried again as often as it takes.
    """

    exit_code: int = 1
    counts_as_try: bool = True


class InvalidTask(AgentSystemError, ValueError):
    """The task cannot be accepted as given; nothing of it was stored."""

    exit_code = 2


class CycleError(InvalidTask):
    """The dependencies run in a circle, so nothing in it could ever start."""


class UnknownDependency(InvalidTask):
    """Something depends on what is not part of the same graph."""


class UnknownCapability(InvalidTask):
    """No known agent has a capability that the task requires."""


class InvalidPlan(AgentSystemError, ValueError):
    """The plan breaks the rules for plans and must not be carried out."""


class IllegalTransition(AgentSystemError):
    """The state asked for cannot follow the present one."""
