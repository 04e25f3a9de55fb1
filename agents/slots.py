"""`Slots`: how many calls a host is given at once, by one process or by all of one machine.

Invariant: a slot belongs to a process that lives. Where processes share slots, each is a lock on a
file, which the system takes back from whoever dies.
"""

from __future__ import annotations

import fcntl
from collections import defaultdict
from pathlib import Path
from typing import IO
from urllib.parse import quote

__all__ = ["Slots"]


class Slots:
    """Up to `number` slots for each host. To be used by one thread at a time.

    Processes that are given the same `folder` share them; without one they are this object's own.
    """

    def __init__(self, number: int, folder: Path | None = None) -> None:
        self.number = number
        self._folder = folder
        self._held: defaultdict[str, list[IO[bytes] | None]] = defaultdict(list)

    def take(self, host: str) -> bool:
        """Take a slot of the host, if one is free now."""
        if self._folder is None:
            free = len(self._held[host]) < self.number
            return free and self._hold(host, None)
        for file in self._files(host):
            opened = _locked(file, fcntl.LOCK_EX)
            if opened is not None:
                return self._hold(host, opened)
        return False

    def give_back(self, host: str) -> None:
        """Give back a slot that was taken here."""
        opened = self._held[host].pop()
        if opened is not None:
            opened.close()

    def taken(self, host: str) -> int:
        """Return how many slots of the host are taken, by whomever."""
        if self._folder is None:
            return len(self._held[host])
        return sum(_is_locked(file) for file in self._files(host))

    def _hold(self, host: str, opened: IO[bytes] | None) -> bool:
        self._held[host].append(opened)
        return True

    def _files(self, host: str) -> list[Path]:
        assert self._folder is not None, "only shared slots are files"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [self._folder / f"{quote(host, safe='')}.{n}" for n in range(self.number)]


def _is_locked(file: Path) -> bool:
    # Shared: two who only look do not see each other.
    opened = _locked(file, fcntl.LOCK_SH)
    if opened is not None:
        opened.close()
    return opened is None


def _locked(file: Path, kind: int) -> IO[bytes] | None:
    opened = file.open("ab")
    try:
        fcntl.flock(opened, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        return None
    return opened
