"""The leases that this process holds on running tasks, kept alive by one thread.

Invariants
  * A task runs only under a lease. Whoever loses it hears so at the next renewal at the latest, and
    commits nothing: the fencing token is checked by the database, not here.
  * A cancelled task hears of it by a push, within milliseconds; so does one that is handed back.
  * The thread belongs to the process that started it; a forked child starts its own.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from celery_app.errors import AgentSystemError
from celery_app.postgres.notify import Listener
from celery_app.store.execution import ExecutionStore
from celery_app.store.records import Claim

logger = logging.getLogger(__name__)

#: What stands before the id of a run that somebody follows, on the channel task_followed.
FOLLOW = "follow:"
#: For how long one sign of a follower is good.
_FOLLOWED_SECONDS = 10.0
#: This worker, by a name that no other one has: process numbers repeat in containers. The children of
#: its pool are forked, and share it.
OWNER = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"


@dataclass
class Lease:
    """The right to run one task, and the ear for its end.

    Attributes:
        claim: What was claimed.
        ended: Set when the task must stop: cancelled, lost, or out of time.
        reason: Why, once `ended` is set: ``cancelled``, ``lost`` or ``timeout``.
        followed_until: How long somebody wants to hear what its model says, by the same clock.
        sure_until: Until when nobody else can have it, by this process's monotonic clock.
    """

    claim: Claim
    renew: Callable[[Lease], None]
    sure_until: float
    ended: threading.Event = field(default_factory=threading.Event)
    reason: str | None = None
    expires_at: float | None = None
    followed_until: float = float("-inf")

    @property
    def followed(self) -> bool:
        """Whether somebody wants to hear what the task's model says."""
        return time.monotonic() < self.followed_until

    def assure(self) -> None:
        """Make sure of the lease before something is done that cannot be undone; end it if it is lost.

        This costs a look at the clock, unless the process has stood still for longer than a lease.
        """
        if time.monotonic() >= self.sure_until:
            self.renew(self)

    def end(self, reason: str) -> None:
        """Tell the running task to stop."""
        self.reason = self.reason or reason
        self.ended.set()


class LeaseKeeper:
    """Renews every lease of this process with one statement.

    Args:
        executions: Where leases are kept.
        seconds: How long a lease lasts without renewal.
        renew_seconds: How often all of them are renewed.
    """

    def __init__(self, executions: ExecutionStore, seconds: float, renew_seconds: float) -> None:
        self.seconds = seconds
        self._executions = executions
        self._renew_seconds = renew_seconds
        self._reset()

    def _reset(self) -> None:
        self._leases: dict[str, Lease] = {}
        self._followed: dict[str, float] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._pid = 0

    @contextmanager
    def hold(self, claim: Claim, since: float) -> Iterator[Lease]:
        """Keep the lease on a claim alive for the length of the block.

        Args:
            claim: What was claimed.
            since: The monotonic time at which the claim was asked for.
        """
        lease = Lease(claim, self._assure, since + self.seconds)
        if claim.seconds_left is not None:
            lease.expires_at = time.monotonic() + claim.seconds_left
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            self._leases[claim.id] = lease
            lease.followed_until = self._followed.get(claim.root_id, lease.followed_until)
        if lease.expires_at is not None:
            self._changed.set()
        try:
            yield lease
        finally:
            with self._lock:
                if self._leases.get(claim.id) is lease:
                    del self._leases[claim.id]

    def held(self) -> list[str]:
        """Return the ids of the tasks that this process runs now."""
        with self._lock:
            return list(self._leases)

    def _start(self) -> None:
        self._reset()
        self._pid = os.getpid()
        self._listener = Listener(self._executions.database, self._on_news, on_resync=self._renew)
        self._listener.listen(["task_cancelled", "task_followed", "handed_back"])
        threading.Thread(target=self._run, name="lease-keeper", daemon=True).start()

    def _run(self) -> None:
        renew_at = time.monotonic() + self._renew_seconds
        while True:
            self._changed.wait(max(0.0, min(renew_at, self._next_expiry()) - time.monotonic()))
            self._changed.clear()
            self._end_overdue()
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + self._renew_seconds
                try:
                    self._renew()
                except AgentSystemError:
                    # The tasks go on: whether they still may commit is for the fence to say.
                    logger.warning("leases could not be renewed", exc_info=True)

    def _snapshot(self) -> list[Lease]:
        with self._lock:
            return list(self._leases.values())

    def _next_expiry(self) -> float:
        expiries = [
            lease.expires_at
            for lease in self._snapshot()
            if lease.expires_at is not None and not lease.ended.is_set()
        ]
        return min(expiries, default=float("inf"))

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for lease in self._snapshot():
            if lease.expires_at is not None and lease.expires_at <= now:
                lease.end("timeout")

    def _renew(self) -> None:
        leases = self._snapshot()
        if leases:
            self._renew_these(leases)

    def _renew_these(self, leases: Sequence[Lease]) -> None:
        sure_until = time.monotonic() + self.seconds
        owned = self._executions.renew(
            {lease.claim.id: lease.claim.fence for lease in leases}, self.seconds
        )
        for lease in leases:
            if lease.claim.id in owned:
                lease.sure_until = sure_until
            else:
                lease.end("lost")

    def _assure(self, lease: Lease) -> None:
        try:
            self._renew_these([lease])
        except AgentSystemError as away:
            logger.warning(
                "task %s is given up, its lease cannot be renewed: %s", lease.claim.id, away
            )
            lease.end("lost")

    def _on_news(self, payloads: list[str]) -> None:
        """Hear of cancelled tasks, of followed runs, and of workers that handed back what they ran."""
        for payload in payloads:
            if payload == OWNER:
                self._renew()
            elif payload.startswith(FOLLOW):
                self._on_followed(payload.removeprefix(FOLLOW))
            else:
                self._on_cancelled(payload)

    def _on_followed(self, run: str) -> None:
        now = time.monotonic()
        with self._lock:
            known = {root: until for root, until in self._followed.items() if until > now}
            self._followed = {**known, run: now + _FOLLOWED_SECONDS}
            for lease in self._leases.values():
                if lease.claim.root_id == run:
                    lease.followed_until = self._followed[run]

    def _on_cancelled(self, task_id: str) -> None:
        with self._lock:
            lease = self._leases.get(task_id)
        if lease is not None:
            lease.end("cancelled")
