"""How tasks look: a tree or a table on a terminal, plain lines anywhere else.

Invariant: whatever a model or a user wrote is shown without its control characters, so that no task
can write to the terminal by itself. Only results on stdout are left as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from celery_app.cli.options import JsonObject

__all__ = [
    "line_of",
    "one_line",
    "plan_line",
    "print_json",
    "print_pairs",
    "print_result",
    "print_table",
    "seconds_of",
    "timed",
    "tokens_of",
    "tree_of",
]

#: Subtasks of one parent that are drawn one by one; the others are counted.
MOST_DRAWN = 24
SHORT_ID = 8

_LOOKS = {
    "pending": ("·", "dim"),
    "queued": ("○", "dim"),
    "running": ("●", "cyan"),
    "waiting": ("◌", "yellow"),
    "expanded": ("▾", "cyan"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("↷", "yellow"),
}
#: What is drawn first when not everything can be.
_INTEREST = (
    "failed",
    "running",
    "expanded",
    "waiting",
    "cancelled",
    "skipped",
    "queued",
    "pending",
)


def one_line(text: Any, width: int = 72) -> str:
    """Return text on one line of at most `width` characters, without control characters."""
    start = str(text)[: 4 * width]
    words = " ".join("".join(c if c.isprintable() else " " for c in start).split())
    return words if len(words) <= width else words[: width - 1] + "…"


def seconds_of(task: JsonObject, now: datetime | None = None) -> float | None:
    """Return how long the last attempt took, or has taken until `now`."""
    if not task["started_at"]:
        return None
    started = datetime.fromisoformat(task["started_at"])
    if task["finished_at"]:
        ended = datetime.fromisoformat(task["finished_at"])
    elif task["state"] in ("running", "expanded"):
        ended = now or datetime.now(UTC)
    else:
        return None
    return max(0.0, (ended - started).total_seconds())


def timed(document: JsonObject) -> JsonObject:
    """Return the tree with every parent starting when the first of its subtasks did.

    Its own start is that of its last phase, in which it only collects their results.
    """
    starts = {task["id"]: task["started_at"] for task in (document, *document["tasks"])}
    for task in reversed(document["tasks"]):
        both = [starts.get(task["parent_id"]), starts[task["id"]]]
        starts[task["parent_id"]] = min(filter(None, both), default=None)
    tasks = [{**task, "started_at": starts[task["id"]]} for task in document["tasks"]]
    return {**document, "started_at": starts[document["id"]], "tasks": tasks}


def tokens_of(task: JsonObject) -> int:
    """Return all tokens of a task: read and written."""
    return int(task["tokens"]["prompt"]) + int(task["tokens"]["generated"])


def line_of(task: JsonObject, width: int = 72) -> str:
    """Return a task on one plain line."""
    words = [f"{task['state']:<9}", task["id"][:SHORT_ID], *_facts(task)]
    error = f"  ({_error(task, width)})" if task["error"] else ""
    return f"{'  '.join(words)}  {_title(task, width)}{error}"


def plan_line(plan: JsonObject) -> str:
    """Return in one line who made a plan, at what cost, and how many steps it has."""
    steps, tries = len(plan["steps"]), plan["tries"]
    tokens = plan["tokens"]["prompt"] + plan["tokens"]["generated"]
    return (
        f"plan  source: {plan['source']}  {steps} steps  "
        f"{tries} {'try' if tries == 1 else 'tries'}  {tokens} tokens"
    )


def tree_of(document: JsonObject, width: int = 100) -> Tree:
    """Return the tree of a task and its descendants, as `handle.tree()` gives them."""
    below: dict[str, list[JsonObject]] = {}
    for task in document["tasks"]:
        below.setdefault(task["parent_id"], []).append(task)
    label = _label(document, width)
    if document.get("plan"):
        label = Text.assemble(label, "\n", (plan_line(document["plan"]), "dim"))
    root = Tree(label, guide_style="dim")
    open_nodes = [(root, document["id"])]
    while open_nodes:
        node, task_id = open_nodes.pop()
        drawn, hidden = _most_interesting(below.get(task_id, []))
        open_nodes += [(node.add(_label(task, width)), task["id"]) for task in drawn]
        if hidden:
            node.add(Text(f"… and {_counted(hidden)}", style="dim"))
    return root


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_result(value: Any) -> None:
    """Print a result on stdout: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        click.echo(value)
    else:
        print_json(value)


def print_pairs(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns, leaving out what is None or empty."""
    kept = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        click.echo(f"{name:<{width}}  {value}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under headings: fitted to a terminal, or tab-separated for other programs."""
    if not sys.stdout.isatty():
        for row in (headings, *rows):
            click.echo("\t".join(one_line(cell, 200) for cell in row))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(one_line(cell, 200)) for cell in row))
    Console().print(table)


def _label(task: JsonObject, width: int) -> Text:
    mark, style = _LOOKS.get(task["state"], ("?", ""))
    label = Text(f"{mark} ", style=style, no_wrap=True, overflow="ellipsis")
    label.append(_title(task, width), style="bold" if task["parent_id"] is None else "")
    label.append(f"  {task['state']}", style=style)
    for fact in _facts(task):
        label.append(f"  {fact}", style="dim")
    if task["error"]:
        label.append(f"  {_error(task, width)}", style="red")
    return label


def _title(task: JsonObject, width: int) -> str:
    given = task["metadata"].get("title") or task["description"] or task.get("task") or task["type"]
    return one_line(given, width)


def _error(task: JsonObject, width: int) -> str:
    return one_line(task["error"]["message"] or task["error"]["type"], width)


def _facts(task: JsonObject) -> list[str]:
    facts = []
    if task["agent"]:
        facts.append(one_line(task["agent"], 20))
    seconds = seconds_of(task)
    if seconds is not None:
        facts.append(f"{seconds:.1f} s")
    if tokens := tokens_of(task):
        facts.append(f"{tokens} tokens")
    if task["attempts"] > 1:
        facts.append(f"attempt {task['attempts']}")
    return facts


def _most_interesting(tasks: list[JsonObject]) -> tuple[list[JsonObject], list[JsonObject]]:
    if len(tasks) <= MOST_DRAWN:
        return tasks, []
    rank = {state: place for place, state in enumerate(_INTEREST)}
    chosen = sorted(tasks, key=lambda task: rank.get(task["state"], len(rank)))[:MOST_DRAWN]
    ids = {task["id"] for task in chosen}
    return [t for t in tasks if t["id"] in ids], [t for t in tasks if t["id"] not in ids]


def _counted(tasks: Sequence[JsonObject]) -> str:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task["state"]] = counts.get(task["state"], 0) + 1
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
