"""The buffer between whoever logs and Postgres: written in batches by a thread of its own.

Invariants
  * What was taken in is written in its order, and once: a batch that is tried again adds nothing.
  * Nothing is lost while Postgres answers, however slow: whoever logs into a full buffer waits. While it is
    away as much is kept as the buffer holds; what is more is counted, and the count is written later.
  * A forked child begins with an empty buffer and a thread of its own; its parent's is its parent's.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.util import Finalize
from typing import Generic, TypeVar

__all__ = ["LogWriter"]

Item = TypeVar("Item")

_BATCH = 500
#: Seconds for which what comes in is gathered, so that few transactions carry much.
_GATHERED = 0.2
#: Seconds before a batch that was refused is tried again.
_PAUSE = 1.0
#: Seconds that the end of a process waits for its last events.
_LAST = 10.0


class LogWriter(Generic[Item]):
    """Hands over batches, in a thread that begins with the first item.

    Args:
        write: Writes a batch, all of it or nothing; what it raises makes the thread try again.
        lost: Makes an item that says how many were lost.
        size: How many items may wait.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], None],
        lost: Callable[[int], Item],
        size: int,
    ) -> None:
        self._write = write
        self._lost = lost
        self._size = size
        self._begin()
        itself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _begin_anew(itself))
        atexit.register(self.close)

    def _begin(self) -> None:
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._hurry = False
        self._away = False
        self._dropped = 0
        self._writing = 0

    @property
    def is_writing(self) -> bool:
        """Whether this is the thread that writes, whose own words would never end."""
        return threading.current_thread() is self._thread

    @property
    def _is_full(self) -> bool:
        # What is being written may come back.
        return len(self._items) + self._writing >= self._size

    @property
    def _owes_word(self) -> bool:
        return self._dropped > 0 and not self._away

    def put(self, make: Callable[[], Item]) -> None:
        """Take an item in; `make` is called when its place in the order is known."""
        with self._changed:
            while self._is_full and not self._away and not self._closing:
                self._hurry = True
                self._changed.notify_all()
                self._changed.wait(1.0)
            if self._is_full:
                self._dropped += 1
                return
            self._items.append(make())
            if self._thread is None:
                self._start()
            elif len(self._items) in (1, _BATCH):
                self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was taken in is written; return whether it is."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(
                lambda: not (self._items or self._writing or self._dropped), timeout
            )

    def close(self) -> None:
        """Write what is left, within a few seconds, and end the thread."""
        with self._changed:
            thread, self._closing = self._thread, True
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_LAST)

    def _start(self) -> None:
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()
        if multiprocessing.parent_process() is not None:
            # Such a child ends without what is registered at exit.
            Finalize(self, self.close, exitpriority=1)

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._write(batch)
            except Exception:
                # Whatever it was: to log it would only lengthen the queue.
                self._put_back(batch)
            else:
                self._written()

    def _next(self) -> list[Item]:
        """Wait for a batch; an empty one means that the thread has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._owes_word or self._closing)
            if not (self._closing or self._hurry):
                self._changed.wait_for(
                    lambda: len(self._items) >= _BATCH or self._closing or self._hurry, _GATHERED
                )
            if self._owes_word:
                self._items.append(self._lost(self._dropped))
                self._dropped = 0
            batch = [self._items.popleft() for _ in range(min(_BATCH, len(self._items)))]
            self._writing = len(batch)
            if not batch:
                self._thread = None
            return batch

    def _put_back(self, batch: Sequence[Item]) -> None:
        with self._changed:
            self._items.extendleft(reversed(batch))
            self._writing = 0
            self._away = True
            self._changed.notify_all()
            if self._closing:
                # Nobody waits for a database that is away when a process ends.
                self._items.clear()
                return
            self._changed.wait_for(lambda: self._closing, _PAUSE)

    def _written(self) -> None:
        with self._changed:
            self._away = False
            self._writing = 0
            if not self._items:
                self._hurry = False
            self._changed.notify_all()


def _begin_anew(writer: weakref.ref[LogWriter[Item]]) -> None:
    found = writer()
    if found is not None:
        found._begin()
