"""`HostPool`: which of several model servers a call goes to, and when.

Invariants
  * No host is given more calls at once than it has slots; who waits longest is served first.
  * A host that has refused several connections in a row is given no calls until it has answered a
    look. Looks are taken by threads of their own: no call waits for one while any host is left.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agents.errors import AgentError, ModelRefused, ModelUnreachable
from agents.host import Host
from agents.sight import Sight, look_at
from agents.slots import Slots

__all__ = ["DEFAULT_SLOTS", "HostPool"]

DEFAULT_SLOTS = 4

#: Seconds between two looks at hosts that are cut off.
_LOOK_SECONDS = 1.0
_TICK_SECONDS = 0.1


@dataclass(eq=False)
class _Waiting:
    model: str
    tried: Collection[str]
    place: str | None = None
    served: threading.Event = field(default_factory=threading.Event)


class HostPool:
    """The hosts that calls may go to. Safe to share between threads.

    Of several `hosts` ("name", "name:port" or a URL) a call goes to one that has its model loaded,
    else to the least busy one; one that failed just now comes last. `look_every` is the number of
    seconds after which a call has the hosts looked at again, to know what they have loaded. Without
    it they are looked at only when one is cut off.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        slots: Slots | None = None,
        look_every: float | None = None,
    ) -> None:
        if not hosts:
            raise ModelRefused("no Ollama host is given: name at least one, as host:port")
        self.urls = tuple(hosts)
        self._hosts = {url: Host(url) for url in hosts}
        self._slots = slots or Slots(DEFAULT_SLOTS)
        self._look_every = look_every
        self._line: deque[_Waiting] = deque()
        self._lock = threading.RLock()
        self._looking = False
        self._looks = 0
        self._looked_at = float("-inf")

    # For calls

    @contextmanager
    def place(
        self, model: str, tried: Collection[str], check: Callable[[], None]
    ) -> Iterator[str | None]:
        """Hold a slot of the best host that was not tried, as soon as there is one.

        Yields None when hosts were tried and none is left. `check` is called while waiting, and may
        raise. Raises `ModelUnreachable` when no host is to be reached at all.
        """
        waiting = _Waiting(model, tried)
        try:
            self._wait(waiting, check)
            yield waiting.place
        finally:
            self._leave(waiting)

    def failed(self, url: str, error: AgentError) -> None:
        """Note that a call to a host failed, for a reason that is not the caller's."""
        with self._lock:
            self._hosts[url].failed(error)

    def succeeded(self, url: str) -> None:
        """Note that a host has answered a call."""
        with self._lock:
            self._hosts[url].succeeded()

    def was_away(self, url: str, since: float) -> bool:
        """Tell whether a look has found a host away or full since a monotonic time."""
        with self._lock:
            return self._hosts[url].away_at >= since

    def _wait(self, waiting: _Waiting, check: Callable[[], None]) -> None:
        self._look_if_due()
        looks = self._looks
        with self._lock:
            self._line.append(waiting)
            self._serve()
        while not waiting.served.wait(_TICK_SECONDS):
            check()
            with self._lock:
                self._serve()
                hopeless = waiting.place is None and not self._left(waiting.tried)
                if hopeless and waiting.tried:
                    self._line.remove(waiting)
                    return
                if hopeless:
                    self._give_up(looks)

    def _leave(self, waiting: _Waiting) -> None:
        with self._lock:
            if waiting in self._line:
                self._line.remove(waiting)
            if waiting.place is not None:
                self._slots.give_back(waiting.place)
                self._serve()

    def _give_up(self, looks: int) -> None:
        """Raise that there is no host, unless nobody has looked since `looks`."""
        if self._looks == looks:
            self._look_soon()
            return
        error = ModelUnreachable(str(self._hosts[self.urls[0]].fault))
        error.counts_as_try = False
        raise error

    def _left(self, tried: Collection[str]) -> list[Host]:
        return [h for h in self._hosts.values() if h.url not in tried and not h.cut_off]

    def _serve(self) -> None:
        """Give slots to those who wait, the first of them first."""
        for waiting in list(self._line):
            waiting.place = self._best(waiting)
            if waiting.place is not None:
                self._line.remove(waiting)
                waiting.served.set()

    def _best(self, waiting: _Waiting) -> str | None:
        left = self._left(waiting.tried)
        # One that failed just now is better than none, but not better than waiting for another.
        left = [host for host in left if not host.avoided] or left
        if len(left) > 1:
            left.sort(key=lambda h: (not h.has_loaded(waiting.model), self._slots.taken(h.url)))
        return next((host.url for host in left if self._slots.take(host.url)), None)

    # Looking

    def look(self) -> None:
        """Look at all hosts now, and wait for it."""
        threads = [
            threading.Thread(target=self._look_at, args=(url,), name=f"look {url}", daemon=True)
            for url in self.urls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            self._looks += 1
            self._looked_at = time.monotonic()
            self._serve()

    def sights(self) -> list[Sight]:
        """Return what was last seen of each host that was looked at."""
        with self._lock:
            return [host.sight for host in self._hosts.values() if host.sight is not None]

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the standing of each host as JSON values."""
        with self._lock:
            return {
                url: {
                    **host.told(),
                    "in_flight": self._slots.taken(url),
                    "slots": self._slots.number,
                }
                for url, host in self._hosts.items()
            }

    def _look_if_due(self) -> None:
        with self._lock:
            cut_off = any(host.cut_off for host in self._hosts.values())
            every = _LOOK_SECONDS if cut_off else self._look_every
            if every is not None and time.monotonic() - self._looked_at >= every:
                self._look_soon()

    def _look_soon(self) -> None:
        with self._lock:
            if not self._looking:
                self._looking = True
                threading.Thread(target=self._look_aside, name="look", daemon=True).start()

    def _look_aside(self) -> None:
        try:
            self.look()
        finally:
            self._looking = False

    def _look_at(self, url: str) -> None:
        sight = look_at(url)
        with self._lock:
            self._hosts[url].seen(sight)
