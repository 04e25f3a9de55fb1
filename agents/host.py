"""`Host`: what a pool knows of one model server, from calls and from looks.

Invariant: it is cut off only by failures to connect, several in a row, and no longer than until it
answers a look or a call.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agents.errors import AgentError, ModelUnreachable
from agents.sight import Sight, is_among

__all__ = ["Host"]

_AVOIDED_SECONDS = 30.0
_FAILURES_TO_CUT_OFF = 3


@dataclass
class Host:
    """One host. To be used by one thread at a time.

    Attributes:
        url: Where it is.
        sight: What was last seen of it.
        fault: What was last wrong with it.
        since: The moment from which on it has been as it is.
        away_at: When a look last found it away or full, by the monotonic clock.
    """

    url: str
    sight: Sight | None = None
    fault: AgentError | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    away_at: float = float("-inf")
    _failures: int = 0
    _avoided_until: float = float("-inf")

    @property
    def cut_off(self) -> bool:
        """Whether its circuit is open: no call goes there."""
        return self._failures >= _FAILURES_TO_CUT_OFF

    @property
    def avoided(self) -> bool:
        """Whether it failed just now: calls go there only when there is no other."""
        return time.monotonic() < self._avoided_until

    def has_loaded(self, model: str) -> bool:
        """Tell whether it had the model in memory when it was last looked at."""
        return self.sight is not None and is_among(model, self.sight.loaded)

    def failed(self, error: AgentError) -> None:
        """Note that a call failed, for a reason that is not the caller's."""
        self.fault = error
        self._avoided_until = time.monotonic() + _AVOIDED_SECONDS
        if isinstance(error, ModelUnreachable):
            self._failures += 1

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self._failures = 0
        self.fault = None

    def seen(self, sight: Sight) -> None:
        """Note what a look has shown."""
        if self.sight is None or self.sight.state != sight.state:
            self.since = datetime.now(UTC)
            if self.sight is not None and sight.fault is None:
                # What it did before it came back says nothing any more.
                self._avoided_until = float("-inf")
        self.sight, self.fault = sight, sight.fault
        if sight.fault is not None:
            self.away_at = time.monotonic()
        unreachable = isinstance(sight.fault, ModelUnreachable)
        self._failures = self._failures + 1 if unreachable else 0

    def told(self) -> dict[str, Any]:
        """Return its standing as JSON values."""
        return {
            "state": self.sight.state if self.sight else "unknown",
            "since": self.since.isoformat(timespec="seconds"),
            "reason": str(self.fault) if self.fault else None,
            "circuit": "open" if self.cut_off else "closed",
            "version": self.sight.version if self.sight else "",
            "models": sorted(self.sight.models) if self.sight else [],
            "loaded": sorted(self.sight.loaded) if self.sight else [],
        }
