"""`Agent`: takes a task and texts, asks its model, gives an answer.

Invariant: every answer rests on at least one call of the model, and every text that was given was
read in full by it: what is too long for one call is read in pieces.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agents.model import ChatModel, Usage
from agents.profile import AgentProfile, AgentType
from workflows.task import Task, TaskInput

__all__ = ["Agent", "AgentProfile", "AgentType", "Answer"]


@dataclass(frozen=True)
class Answer:
    """What an agent says, what that took, and how many calls of the model it was."""

    text: str
    usage: Usage = field(default_factory=Usage)
    calls: int = 1


class Agent:
    """One member of the roster at work. It keeps nothing between tasks."""

    def __init__(self, profile: AgentProfile) -> None:
        self.profile = profile

    def perform(
        self,
        task: Task,
        inputs: Sequence[TaskInput] = (),
        dependencies: Sequence[TaskInput] = (),
        *,
        model: ChatModel,
        on_text: Callable[[str], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Answer:
        """Do the task with the given texts and the named results of the tasks it depends on."""
        raise NotImplementedError
