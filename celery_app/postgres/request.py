"""What a Celery request tells the result backend: whose task it is, and of which chord it is a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

#: Message header that marks a task of a graph, whose row already holds its outcome.
GRAPH_HEADER = "ai_agent"


def is_graph_task(request: Any) -> bool:
    """Tell whether a Celery request belongs to a task of a graph."""
    # For a message whose task it does not know, the worker gives a plain bunch of names.
    get = getattr(request, "get", None)
    return get is not None and bool(get(GRAPH_HEADER))


def with_members(chain: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a chain; a group among them is followed by its members."""
    for step in chain:
        yield step
        if step.get("subtask_type") in {"group", "chain"}:
            yield from with_members(step["kwargs"].get("tasks", ()))


def chord_of(request: Any) -> str | None:
    """Return the id of the chord that a task is a part of, if it is one."""
    return request.group if request and request.chord and request.group else None


def position_of(request: Any) -> int:
    """Return the place of a part in its chord's header."""
    return int(getattr(request, "group_index", None) or 0)
