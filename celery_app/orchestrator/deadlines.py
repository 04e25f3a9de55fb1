"""Say that a deadline will be missed before it is.

A task's end is estimated from what is still to be done on the longest way to it, with the durations
that such tasks have had so far. Where there are fewer workers than the graph is wide it comes later:
what is told here is the least that is to be feared.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter

from celery_app.postgres.connection import Database
from celery_app.store.deadlines import DeadlineStore, OpenTask
from workflows.graph import TaskGraph

__all__ = ["Deadlines"]

logger = logging.getLogger(__name__)

#: Seconds for which measured durations are believed.
_BELIEVED = 30.0
_NAMED = 5


class Deadlines:
    """Looks at all runs with deadlines.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._store = DeadlineStore(database)
        self._durations: dict[tuple[str, str | None], float] = {}
        self._measured_at = float("-inf")

    def look(self) -> int:
        """Note which tasks are at risk now, and which are no longer; return how many changed."""
        tasks = self._store.open_tasks()
        if not tasks:
            return 0
        if time.monotonic() > self._measured_at + _BELIEVED:
            self._durations, self._measured_at = self._store.durations(), time.monotonic()
        found: dict[str, tuple[str, str | None]] = {}
        for _, run in groupby(tasks, key=attrgetter("root_id")):
            found.update(_changes(list(run), self._durations))
        for task_id, (_, risk) in found.items():
            if risk is not None:
                logger.warning("task %s %s", task_id, risk)
        if found:
            self._store.note(found)
        return len(found)


def _changes(
    tasks: list[OpenTask], durations: Mapping[tuple[str, str | None], float]
) -> dict[str, tuple[str, str | None]]:
    by_id = {task.id: task for task in tasks}
    graph = TaskGraph({task.id: [need for need in task.needs if need in by_id] for task in tasks})
    left = {task.id: max(0.0, durations.get(task.work, 0.0) - task.elapsed) for task in tasks}
    seconds = graph.finish_times(left)
    changes: dict[str, tuple[str, str | None]] = {}
    for task in tasks:
        if task.left is None:
            continue
        late = seconds[task.id] > task.left
        # Told once: the figures change with every look, and the news does not.
        if late and task.risk is None:
            path, _ = graph.critical_path(left, to=task.id)
            ways = [step for step in path if left[step]]
            changes[task.id] = (task.root_id, _told(seconds[task.id], task.left, ways))
        elif not late and task.risk is not None:
            changes[task.id] = (task.root_id, None)
    return changes


def _told(seconds: float, left: float, path: Iterable[str]) -> str:
    steps = list(path)
    more = f" and {len(steps) - _NAMED} more" if len(steps) > _NAMED else ""
    return (
        f"will miss its deadline: it is due in {left:.0f} s and its longest way takes {seconds:.0f} s "
        f"({', '.join(steps[:_NAMED])}{more})"
    )
