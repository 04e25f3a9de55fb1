"""What can go wrong with running work, as one family.

AgentSystemError (workflows.errors)
├── ConfigurationError     a file, key or variable is wrong: exit 2
├── ServiceUnavailable     Postgres, Redis or Ollama does not answer: exit 4
├── PermissionDenied       the policy says no: exit 3
├── UnknownTask            no task has that id
├── UnknownProject         no project has that name: exit 2
├── UnknownArtifact        no artifact has that id or name: exit 2
├── UnknownDocument        no document, or version of one, is called that: exit 2
├── Unstorable             a value has a part that Postgres or JSON cannot hold: exit 2
├── DocumentOutdated       what a document was made of has changed since: exit 1
├── TaskFailed             the work was tried and failed: exit 1
│   ├── UnfitResult        the result is not as the task's `output` says
│   ├── TaskCancelled      somebody cancelled it
│   └── TaskSkipped        something that it needs failed or was skipped
├── WaitTimeout            the work goes on, but the caller's patience ended
├── BudgetHeld             calls under way may use up the budget: the task is tried again
├── BudgetSpent            the budget is used up: the task waits until it is given more
├── Unsealed               a message or a row is not what was sealed there
├── JournalAltered         a journal is not what was sealed of it
└── LeaseLost              this worker no longer owns the task it was running

Invariant: every message is one line that names the offending value and says what to do next.
"""

from __future__ import annotations

from workflows.errors import AgentSystemError

__all__ = [
    "AgentSystemError",
    "BudgetHeld",
    "BudgetSpent",
    "ConfigurationError",
    "DocumentOutdated",
    "JournalAltered",
    "LeaseLost",
    "PermissionDenied",
    "ServiceUnavailable",
    "TaskCancelled",
    "TaskFailed",
    "TaskSkipped",
    "UnfitResult",
    "UnknownArtifact",
    "UnknownDocument",
    "UnknownProject",
    "UnknownTask",
    "Unsealed",
    "Unstorable",
    "WaitTimeout",
]


class ConfigurationError(AgentSystemError):
    """A setting, file or argument is not usable as given."""

    exit_code = 2


class DocumentOutdated(AgentSystemError):
    """What a document was made of is not any more as it was."""


class ServiceUnavailable(AgentSystemError):
    """A server that is needed does not answer."""

    exit_code = 4
    counts_as_try = False


class PermissionDenied(AgentSystemError):
    """The policy does not allow it."""

    exit_code = 3
    retryable = False


class UnknownAlert(ConfigurationError):
    """No alert is firing under the given number, or no silence has it."""


class UnknownArtifact(AgentSystemError):
    """No artifact has the given id or name."""

    exit_code = 2


class UnknownDocument(AgentSystemError):
    """No document, or no version of it, is called so."""

    exit_code = 2


class UnknownProject(AgentSystemError):
    """No project has the given name."""

    exit_code = 2


class UnknownTask(AgentSystemError):
    """No task has the given id."""

    exit_code = 2


class Unstorable(AgentSystemError):
    """A value cannot be kept as it is; nothing of it was stored."""

    exit_code = 2


class TaskFailed(AgentSystemError):
    """The task was tried and did not succeed."""


class UnfitResult(TaskFailed):
    """The result is not as the JSON schema in `output` of the task says."""


class TaskCancelled(TaskFailed):
    """The task was cancelled before it could finish."""


class TaskSkipped(TaskFailed):
    """The task never started, because something that it needs did not succeed."""


class WaitTimeout(AgentSystemError, TimeoutError):
    """The caller stopped waiting; the work itself goes on."""


class BudgetHeld(AgentSystemError):
    """Other calls may yet use up the budget; what they leave is known when they are over."""

    counts_as_try = False


class BudgetSpent(AgentSystemError):
    """The next model call could exceed a budget; the message tells which."""


class Unsealed(AgentSystemError):
    """What is stored or sent is not what was sealed for its place; nothing of it is used."""


class JournalAltered(AgentSystemError):
    """A journal, or what vouches for it, is not what was sealed; nothing more is built on it."""


class LeaseLost(AgentSystemError):
    """Another worker owns the task now, or it was cancelled: nothing may be written."""
