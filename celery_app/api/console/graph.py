"""Tasks as a graph: how they hang together, which of them the end waits for, and the picture of that.

Invariant: a picture says nothing that colours alone tell; each box has its state in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from celery_app.api.console.words import lasting, mark, seconds_between, status_of, title
from workflows.graph import TaskGraph
from workflows.picture import Box, Look, cut, draw, plain
from workflows.svg import drawn
from workflows.workflow import Workflow

__all__ = [
    "MOST_DRAWN",
    "critical_tasks",
    "critical_way",
    "inline",
    "look_of",
    "picture_of_run",
    "picture_of_tasks",
]

#: Boxes in one picture; more of them nobody reads.
MOST_DRAWN = 120
_LONGEST = 34
#: Up to this width (pixels) a picture may be made a little smaller, so that all of it is seen.
_SHRINKS = 1500
_ABOUT = (
    "From top to bottom, in the order in which one needs the other. The table below says the same."
)

Document = Mapping[str, Any]


def picture_of_tasks(document: Document, critical: Iterable[str]) -> Markup | None:
    """Return the picture of all tasks below one; None if there are none, or too many."""
    tasks: list[Document] = document["tasks"]
    if not 0 < len(tasks) <= MOST_DRAWN:
        return None
    marked, begun = set(critical), _beginnings(tasks)
    boxes = {task["id"]: _box(task, begun, critical=task["id"] in marked) for task in tasks}
    arrows = dict(_arrows(document["id"], tasks))
    return inline(draw(f"Graph of {title(dict(document))}", boxes, arrows))


def picture_of_run(workflow: Workflow, looks: Mapping[str, Look]) -> Markup:
    """Return the picture of a workflow, with how the steps of a run stand."""
    return inline(drawn(workflow, looks))


def critical_tasks(document: Document) -> list[str]:
    """Return the direct subtasks that the end of a task had, or has, to wait for, in their order."""
    children = [task for task in document["tasks"] if task["parent_id"] == document["id"]]
    begun = _beginnings(document["tasks"])
    times = {task["id"]: (_begun(task, begun), task["finished_at"]) for task in children}
    return critical_way({task["id"]: task["dependencies"] for task in children}, times)


def critical_way(
    needs: Mapping[str, Sequence[str]], times: Mapping[str, tuple[str | None, str | None]]
) -> list[str]:
    """Return what the end had to wait for: what was over last, what that waited for longest, and so on.

    As long as not all is over: the way that has taken longest so far.

    Args:
        needs: What each one needs; what has no times is left out.
        times: When each was begun and over.
    """
    if len(times) < 2 or not any(begun for begun, _ in times.values()):
        return []
    graph = TaskGraph({one: [each for each in needs[one] if each in times] for one in times})
    ends = {one: datetime.fromisoformat(over) for one, (_, over) in times.items() if over}
    if len(ends) < len(times):
        took = {one: seconds_between(*both) or 0.0 for one, both in times.items()}
        return graph.critical_path(took)[0]
    way = [max(ends, key=ends.__getitem__)]
    while needed := graph.dependencies(way[-1]):
        way.append(max(needed, key=ends.__getitem__))
    return way[::-1]


def look_of(task: Document, link: str, *, critical: bool = False) -> Look:
    """Return how a task or step is drawn."""
    state = task["state"]
    seconds = seconds_between(task["started_at"], task["finished_at"])
    words = f"{mark(state)} {state}"
    if seconds is not None and status_of(state) not in ("pending", "waiting"):
        words += f" · {lasting(seconds)}"
    return Look(status_of(state), words, link, critical)


def _beginnings(tasks: Iterable[Document]) -> dict[str, str]:
    """Return when the first of the tasks below each one was begun; nothing of those that have none."""
    begun: dict[str, str] = {}
    for task in tasks:
        known, start = begun.setdefault(task["parent_id"], ""), task["started_at"] or ""
        begun[task["parent_id"]] = min(filter(None, (known, start)), default="")
    return begun


def _begun(task: Document, begun: Mapping[str, str]) -> str | None:
    """Return when work on a task was begun: its own start is that of its last phase."""
    return min(filter(None, (begun.get(task["id"]), task["started_at"])), default=None)


def _box(task: Document, begun: Mapping[str, str], *, critical: bool) -> Box:
    kind = "plan" if task["id"] in begun else "agent" if task["task"] is None else "task"
    worker = task["agent"] or task["task"] or task["type"]
    lines = (cut(title(dict(task)), _LONGEST), cut(plain(worker), _LONGEST))
    words = f"{title(dict(task), 400)}\n{plain(worker)}, {task['state']}"
    shown = {**task, "started_at": _begun(task, begun)}
    return Box(
        kind, lines, words, look_of(shown, f"/console/tasks/{task['id']}", critical=critical)
    )


def _arrows(root: str, tasks: list[Document]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the arrows: from what is needed, and from what was broken up into its first parts."""
    known = {task["id"] for task in tasks}
    below: dict[str, list[Document]] = {}
    for task in tasks:
        below.setdefault(task["parent_id"], []).append(task)
    for task in tasks:
        needed = [each for each in task["dependencies"] if each in known]
        for each in needed:
            for end in _ends(each, below):
                yield (end, task["id"]), "success"
        if not needed and task["parent_id"] != root:
            yield (task["parent_id"], task["id"]), "expands"


def _ends(task_id: str, below: Mapping[str, list[Document]]) -> Iterator[str]:
    """Yield the tasks with which one ends: itself, or the last ones of those that it was broken up into."""
    parts = below.get(task_id, [])
    if not parts:
        yield task_id
        return
    needed = {each for part in parts for each in part["dependencies"]}
    for part in parts:
        if part["id"] not in needed:
            yield from _ends(part["id"], below)


def inline(picture: ElementTree.Element) -> Markup:
    """Return a picture as a part of a page, which those who do not see it are told about."""
    picture.set("role", "group")
    picture.set("aria-labelledby", "graph-title")
    picture.set("aria-describedby", "graph-words")
    heading = picture.find("title")
    assert heading is not None
    heading.set("id", "graph-title")
    about = ElementTree.Element("desc", {"id": "graph-words"})
    about.text = _ABOUT
    picture.insert(1, about)
    if float(picture.get("width", "inf")) <= _SHRINKS:
        picture.set("class", "fits")
    # It was escaped when it was made.
    return Markup(ElementTree.tostring(picture, encoding="unicode"))  # noqa: S704
