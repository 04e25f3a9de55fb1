"""What can go wrong when an agent asks a model, as one family.

AgentError (workflows.errors.AgentSystemError)
├── ModelUnreachable      no host answered, or none in time: exit 4
├── ModelBusy             the host's queue is full
├── ModelFailed           the server failed at an acceptable request
├── IncompleteReply       the stream ended before the reply was whole
├── ModelMissing          the host does not have the model: exit 4
├── ModelRefused          the request itself is wrong, or not allowed
├── ContextOverflow       the text does not fit into the model's window
├── ReplyTruncated        the model wrote more than it was allowed to
├── UnreadableAnswer      the answer has not the form that was asked for
├── CallCancelled         the caller ended the call
├── DeadlinePassed        the time for the call is over
├── PromptError           a prompt file is missing or misses a value
├── UnknownAgent          the roster has no such agent: exit 2
├── InvalidRoster         the file of agents is wrong: exit 2
├── InvalidTool           a function cannot be a tool, or cannot be found: exit 2
├── ToolFailed            a tool could not do what it was called for; the model is told
└── ToolRefused           a call is outside of what the task may do; the model is told

Invariant: `retry` says all that a caller needs to know about trying again; nobody reads messages to
find out. `retryable` is true only where the very same request may succeed later, and None where other
words of the model may do: the policy of the task decides.
"""

from __future__ import annotations

from enum import StrEnum

from workflows.errors import AgentSystemError

__all__ = [
    "AgentError",
    "CallCancelled",
    "ContextOverflow",
    "DeadlinePassed",
    "IncompleteReply",
    "InvalidRoster",
    "InvalidTool",
    "ModelBusy",
    "ModelFailed",
    "ModelMissing",
    "ModelRefused",
    "ModelUnreachable",
    "PromptError",
    "ReplyTruncated",
    "Retry",
    "ToolFailed",
    "ToolRefused",
    "UnknownAgent",
    "UnreadableAnswer",
]


class Retry(StrEnum):
    """Whether and how to try again what failed."""

    LATER = "later"
    """The same request after a pause, on another host first."""
    ELSEWHERE = "elsewhere"
    """Not on this host."""
    LONGER = "longer"
    """Once, with twice the room for the answer."""
    REPAIR = "repair"
    """Up to two times, with the fault in words and a higher temperature."""
    NEVER = "never"
    """It would fail again."""


class AgentError(AgentSystemError):
    """The root of what can go wrong between an agent and its model."""

    retry: Retry = Retry.NEVER

    @property
    def retryable(self) -> bool | None:
        """Whether the same request may succeed later; None leaves it to the task's policy."""
        if self.retry in {Retry.REPAIR, Retry.LONGER}:
            return None
        return self.retry is Retry.LATER


class ModelUnreachable(AgentError):
    """No connection, or silence for longer than is allowed."""

    retry = Retry.LATER
    exit_code = 4


class ModelBusy(AgentError):
    """The host takes no more requests at present."""

    retry = Retry.LATER


class ModelFailed(AgentError):
    """The server failed, before or while it answered."""

    retry = Retry.LATER


class IncompleteReply(AgentError):
    """The stream ended without its last line, or in the middle of one."""

    retry = Retry.LATER


class ModelMissing(AgentError):
    """The host answers but does not have the model."""

    retry = Retry.ELSEWHERE
    exit_code = 4


class ModelRefused(AgentError):
    """The request is malformed, or the key is not accepted."""


class ContextOverflow(AgentError):
    """The prompt, or prompt and answer together, do not fit into the window."""


class ReplyTruncated(AgentError):
    """The answer reached `num_predict` before its end."""

    retry = Retry.LONGER


class UnreadableAnswer(AgentError):
    """The answer does not have the form that was asked for."""

    retry = Retry.REPAIR


class CallCancelled(AgentError):
    """The caller's cancel event was set; the connection is closed."""


class DeadlinePassed(AgentError):
    """The call took longer than its limit; the connection is closed."""


class PromptError(AgentError):
    """A prompt cannot be filled."""


class UnknownAgent(AgentError):
    """No agent has that name or type."""

    exit_code = 2


class InvalidRoster(AgentError):
    """The roster of agents cannot be read."""

    exit_code = 2


class InvalidTool(AgentError):
    """A function cannot be used as a tool."""

    exit_code = 2


class ToolFailed(AgentError):
    """A tool was called and could not do it; its words are for the model."""


class ToolRefused(AgentError):
    """A tool call is outside of what the task may do; its words are for the model and the record."""
