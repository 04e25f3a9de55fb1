"""The watch that a worker keeps on its model servers: who answers, who is ready, who may be served.

Invariants
  * Nobody waits for it: it looks, prepares and pulls in threads of its own.
  * A queue is open only while a host answers; and not while its model is being pulled and no host
    has it yet.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from agents.hosts import HostPool
from agents.profile import AgentProfile
from agents.readiness import Finding, Readiness, needs_of
from agents.sight import is_among
from celery_app.queues import agent_queue

logger = logging.getLogger(__name__)

_FINDINGS_KEPT = 20


class ModelWatch:
    """Looks at the hosts of a pool again and again, and prepares those that come up.

    Args:
        pool: The hosts.
        profiles: The agents whose queues are served here.
        interval: Seconds between two looks.
        may_pull: Whether models that are missing are fetched.
        keep_alive: How long servers are to keep models loaded.
        on_look: Called after each look, in the thread of the watch.
    """

    def __init__(
        self,
        pool: HostPool,
        profiles: Sequence[AgentProfile],
        *,
        interval: float,
        may_pull: bool,
        keep_alive: str,
        on_look: Callable[[], None],
    ) -> None:
        self.open = False
        self.since = datetime.now(UTC)
        self._pool = pool
        self._interval = interval
        self._on_look = on_look
        self._needs = needs_of(profiles)
        self._models = _by_queue(profiles)
        self._findings: deque[Finding] = deque(maxlen=_FINDINGS_KEPT)
        self._readiness = Readiness(may_pull, keep_alive, self._note)
        self._prepared: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watch", daemon=True)

    def start(self) -> None:
        """Begin, if this has not been done."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """End soon; what a server is doing for it is left to the server."""
        self._stopping.set()
        self._readiness.stopping.set()

    def serves(self, queue: str) -> bool:
        """Tell whether the tasks of an agent's queue could be performed now."""
        if not self.open:
            return False
        awaited = self._models.get(queue, frozenset()) & self._readiness.pulling
        there = [sight.models for sight in self._pool.sights() if sight.state == "up"]
        return all(any(is_among(model, models) for models in there) for model in awaited)

    def report(self) -> dict[str, Any]:
        """Return what is known as JSON values."""
        return {
            "gate": "open" if self.open else "closed",
            "since": self.since.isoformat(timespec="seconds"),
            "hosts": self._pool.report(),
            "needs": {need.model: {"num_ctx": need.num_ctx} for need in self._needs},
            "pulling": sorted(self._readiness.pulling),
            "findings": [finding.text for finding in self._findings],
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._pool.look()
                self._judge()
                self._on_look()
            except Exception:
                # Whatever it was: nobody else would open the gate again.
                logger.exception("the look at the model servers will be repeated")
            self._stopping.wait(self._interval)

    def _judge(self) -> None:
        sights = self._pool.sights()
        up = {sight.host for sight in sights if sight.state == "up"}
        for host in up - self._prepared:
            sight = next(sight for sight in sights if sight.host == host)
            self._note(Finding(f"{host} answers: Ollama {sight.version}"))
            self._readiness.expect(sight, self._needs)
            threading.Thread(
                target=self._readiness.prepare,
                args=(host, self._needs),
                name=f"prepare {host}",
                daemon=True,
            ).start()
        self._prepared = up
        faults = [str(sight.fault) for sight in sights if sight.fault is not None]
        self._turn(bool(up), faults)

    def _turn(self, to_open: bool, faults: list[str]) -> None:
        if not to_open and (self.open or not self._findings):
            self._note(Finding(f"tasks of agents wait: {'; '.join(faults)}", well=False))
        if to_open != self.open:
            self.open, self.since = to_open, datetime.now(UTC)

    def _note(self, finding: Finding) -> None:
        self._findings.append(finding)
        logger.log(logging.INFO if finding.well else logging.WARNING, "models: %s", finding.text)


def served_profiles(profiles: Iterable[AgentProfile], queues: Iterable[str]) -> list[AgentProfile]:
    """Return the agents whose tasks come from one of the queues."""
    names = set(queues)
    return [profile for profile in profiles if agent_queue(profile.type) in names]


def _by_queue(profiles: Iterable[AgentProfile]) -> dict[str, frozenset[str]]:
    models: dict[str, frozenset[str]] = {}
    for profile in profiles:
        queue = agent_queue(profile.type)
        models[queue] = models.get(queue, frozenset()) | {profile.model}
    return models
