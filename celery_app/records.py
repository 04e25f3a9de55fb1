"""What the system writes down about itself: events of its logs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EnrichedLogEvent", "LogContext", "LogEvent", "LogLevel"]

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def _now() -> datetime:
    return datetime.now(UTC)


class LogEvent(BaseModel):
    """Something that is told: `message`, how bad it is, who says it, and details as JSON values.

    `exception` is the traceback, where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: str
    level: LogLevel = "INFO"
    logger: str = "log_event"
    details: dict[str, Any] = Field(default={})
    exception: str | None = None
    at: datetime = Field(default_factory=_now)


class LogContext(BaseModel):
    """Within what it is told: the agent, the task, and the run (its root task), as far as there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent_id: str | None = None
    task_id: str | None = None
    trace_id: str | None = None
    values: dict[str, Any] = Field(default={})


class EnrichedLogEvent(BaseModel):
    """An event with its context; `additional_context` tells the process, the thread and what was bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timestamp: datetime
    event: LogEvent
    context: LogContext
    agent_id: str | None = None
    task_id: str | None = None
    trace_id: str | None = None
    additional_context: dict[str, Any] = Field(default={})
