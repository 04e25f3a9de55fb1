"""A run of a workflow on a terminal: its steps with their states and times, and what it waits for.

Invariant: whatever was written by models and people is shown without its control characters.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import click
from rich.console import Console
from rich.text import Text

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import one_line, print_pairs, seconds_of, tokens_of

__all__ = ["print_run", "step_lines"]

_LOOKS = {
    "pending": ("·", "dim"),
    "running": ("●", "cyan"),
    "waiting": ("◌", "yellow"),
    "success": ("✓", "green"),
    "error": ("✗", "bold red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("↷", "dim"),
}
_SKIPPED = {
    "condition": "its condition did not hold",
    "failure": "something before it failed",
    "unused": "not needed",
}


def print_run(document: JsonObject, needs: Mapping[str, Sequence[str]]) -> None:
    """Print a run; `needs` are the steps that each step waits for."""
    print_pairs(
        [
            ("run", document["id"]),
            ("workflow", document["workflow"]),
            ("state", document["state"]),
            ("started by", document["trigger"]),
            ("due", document["due"]),
            ("forked from", document["forked_from"]),
            ("inputs", one_line(document["inputs"] or "", 200)),
            ("seconds", _seconds(document)),
            ("tokens", tokens_of(document) or None),
            ("error", one_line((document["error"] or {}).get("message", ""), 500)),
        ]
    )
    click.echo()
    console = Console(soft_wrap=not sys.stdout.isatty())
    for line in step_lines(document, needs):
        console.print(line)
    for question in document["questions"]:
        place = f"{question['run']} {shlex.quote(question['step'])}"
        options = f" (one of: {', '.join(question['options'])})" if question["options"] else ""
        answer = " --answer VALUE" if question["schema"] else ""
        click.echo(f"\n{one_line(question['question'], 500)}{options}")
        click.echo(f"  ai-agent workflow approve {place}{answer}")
        click.echo(f"  ai-agent workflow reject {place}")


def step_lines(document: JsonObject, needs: Mapping[str, Sequence[str]]) -> Iterator[Text]:
    """Yield a line for each step: indented below what it waits for, with its state and times."""
    depth: dict[str, int] = {}
    width = max(
        len(step["id"]) + 2 * _depth(step["id"], needs, depth) for step in document["steps"]
    )
    for step in document["steps"]:
        mark, style = _LOOKS[step["state"]]
        indent = 2 * depth[step["id"]]
        line = Text(" " * indent, no_wrap=True, overflow="ellipsis")
        line.append(f"{mark} ", style=style)
        line.append(f"{step['id']:<{width - indent}}")
        line.append(f"  {step['state']:<9}", style=style)
        for fact in _facts(step):
            line.append(f"  {fact}", style="dim")
        if step["error"]:
            line.append(f"  {one_line(step['error']['message'])}", style="red")
        yield line


def _depth(step: str, needs: Mapping[str, Sequence[str]], known: dict[str, int]) -> int:
    if step not in known:
        known[step] = 1 + max((_depth(each, needs, known) for each in needs[step]), default=-1)
    return known[step]


def _facts(step: JsonObject) -> Iterator[str]:
    if (seconds := _seconds(step)) is not None:
        yield seconds
    if len(step["tasks"]) > 1:
        counts = Counter(task["state"] for task in step["tasks"])
        done = counts.pop("succeeded", 0)
        others = "".join(f", {number} {state}" for state, number in sorted(counts.items()))
        yield f"{done}/{len(step['tasks'])}{others}"
    elif step["attempts"] > 1:
        yield f"attempt {step['attempts']}"
    if step["state"] == "skipped":
        yield _SKIPPED.get(step["reason"], step["reason"] or "")
    elif step["reason"]:
        yield one_line(step["reason"])


def _seconds(shown: JsonObject) -> str | None:
    # A step that has begun counts on, as a task does.
    state = {"success": "succeeded", "error": "failed", "waiting": "running"}.get(
        shown["state"], shown["state"]
    )
    seconds = seconds_of({**shown, "state": state})
    return None if seconds is None else f"{seconds:.1f} s"
