"""What becomes of a run when a step fails: `ErrorHandlingConfig` for the run, `on_error` for a step.

A step that fails is tried again as its `retry` says. Then its `on_error` decides: `continue` goes on
without its output, a fallback stands in for it, and `abort` (the default) leaves it to the run:

    abort       nothing new starts, except steps that run on failure or always and what follows them;
                the run fails
    continue    only what needs the failed step is left out; the run fails when the rest is done
    compensate  as abort; then the compensations of what succeeded are run, in reverse order

Invariant: whatever the strategy, a run in which a step failed for good never counts as succeeded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from workflows.storable import Name

__all__ = ["ErrorHandlingConfig", "Fallback", "OnError"]


class ErrorHandlingConfig(BaseModel):
    """What becomes of the run when a step failed for good, and who is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Literal["abort", "continue", "compensate"] = Field(
        "abort", description="Stop, finish what can be finished, or undo what was done."
    )
    notify: list[Name] = Field(
        default_factory=list,
        description="Names of notifiers (config/alerts.yaml) that are told of a failed run.",
    )


class Fallback(BaseModel):
    """The step that stands in for a failed one; its output becomes the failed step's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fallback: Name = Field(description="Id of the step that runs instead.")


def _form(value: Any) -> str:
    return "step" if isinstance(value, dict | Fallback) else "word"


OnError = Annotated[
    Annotated[Literal["abort", "continue"], Tag("word")] | Annotated[Fallback, Tag("step")],
    Discriminator(_form),
]
"""`abort`, `continue`, or a fallback."""
