"""`About`: what a case is told of the place in which it runs.

Invariant: these are JSON values; they cross from the process that runs the suite to that of the case.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["About"]


@dataclass(frozen=True)
class About:
    """Where a case runs.

    Args:
        folder: What relative paths in the suite are seen from.
        model_url: The model server.
        stand_in: Whether that is one of the tests' own, which can be told to misbehave.
        apart: Whether workers are processes of their own, which may be killed.
        prices: What a million tokens cost: `prompt`, `generated`.
    """

    folder: str = "."
    model_url: str = ""
    stand_in: bool = False
    apart: bool = False
    prices: dict[str, float] = field(default_factory=dict)
