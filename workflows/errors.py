"""What can be wrong with work as written, as one family.

AgentSystemError             the root of every error this system raises: exit 1
├── InvalidTask              a task, or a graph of tasks, cannot be accepted as given: exit 2
│   ├── CycleError           the dependencies run in a circle; the whole circle is named
│   ├── UnknownDependency    something depends on what is not there
│   └── UnknownCapability    no agent can do what the task requires
├── InvalidPlan              a plan breaks the rules for plans
├── InvalidWorkflow          a workflow cannot be accepted as written: exit 2
├── InvalidProject           a project cannot be as it is given: exit 2
├── InvalidDocument          a document cannot be written as asked: exit 2
├── InvalidInputs            a workflow cannot start with the inputs given: exit 2
├── WorkflowError            a run of a workflow cannot go on
│   └── InvalidExpression    an expression of a step cannot be evaluated
└── IllegalTransition        a state cannot follow the state before it

Invariant: every message is one line that names the offending value and says what to do next. Only
`InvalidWorkflow` has one such line for each problem.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflows.problem import Problem

__all__ = [
    "AgentSystemError",
    "CycleError",
    "IllegalTransition",
    "InvalidDocument",
    "InvalidExpression",
    "InvalidInputs",
    "InvalidPlan",
    "InvalidProject",
    "InvalidTask",
    "InvalidWorkflow",
    "UnknownCapability",
    "UnknownDependency",
    "WorkflowError",
]

_SHOWN = 120


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


class InvalidWorkflow(AgentSystemError, ValueError):
    """The workflow cannot be accepted as written; `problems` are all that is wrong with it."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[InvalidWorkflow], tuple[Sequence[Problem]]]:
        return type(self), (self.problems,)


class InvalidProject(AgentSystemError, ValueError):
    """The project cannot be as it is given, or has no such part; `problems` are those of a file."""

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class InvalidDocument(AgentSystemError, ValueError):
    """A document cannot be written as it was asked for; nothing was written."""

    exit_code = 2


class InvalidInputs(AgentSystemError, ValueError):
    """The workflow cannot start with the inputs given."""

    exit_code = 2


class WorkflowError(AgentSystemError):
    """A run of a workflow cannot go on as it is."""


class InvalidExpression(WorkflowError, ValueError):
    """An expression cannot be evaluated; `step` and `expression` say which one."""

    def __init__(self, step: str, expression: str, reason: str) -> None:
        shown = " ".join(expression.split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
        place = f"step {step!r}: " if step else ""
        super().__init__(f"{place}{shown}: {' '.join(reason.split())}")
        self.step = step
        self.expression = expression
        self.reason = " ".join(reason.split())

    def __reduce__(self) -> tuple[type[InvalidExpression], tuple[str, str, str]]:
        return type(self), (self.step, self.expression, self.reason)


class IllegalTransition(AgentSystemError):
    """The state asked for cannot follow the present one."""
