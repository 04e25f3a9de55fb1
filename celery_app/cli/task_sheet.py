"""One task as a person reads it, with everything below it."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import line_of, one_line, print_pairs, seconds_of, tree_of

__all__ = ["print_task"]

LONGEST_RESULT = 2000


def print_task(document: JsonObject) -> None:
    """Print the facts of a task, its subtasks and its shortened result."""
    seconds = seconds_of(document)
    tokens = document["tokens"]
    error = document["error"] or {}
    print_pairs(
        [
            ("id", document["id"]),
            ("description", one_line(document["description"], 200)),
            ("state", document["state"]),
            ("why", document["reason"]),
            ("type", document["type"]),
            ("agent", document["agent"]),
            ("priority", document["priority"]),
            ("asked by", document["requested_by"]),
            ("parent", document["parent_id"]),
            ("needs", ", ".join(document["dependencies"])),
            ("deadline", document["deadline"]),
            ("risk", document["risk"]),
            ("metadata", _metadata(document["metadata"])),
            ("attempts", document["attempts"]),
            ("tokens", f"{tokens['prompt']} read, {tokens['generated']} written"),
            ("queued", document["queued_at"]),
            ("started", document["started_at"]),
            ("finished", document["finished_at"]),
            ("seconds", None if seconds is None else f"{seconds:.2f}"),
            *[("budget", _budget(budget)) for budget in document["budgets"]],
            ("plan", _plan(document["plan"])),
            ("error", f"{error['type']}: {one_line(error['message'], 1000)}" if error else None),
        ]
    )
    if document["tasks"]:
        click.echo()
        _print_subtasks(document)
    for call in document["calls"]:
        click.echo(_call(call))
    for call in document["tool_calls"]:
        click.echo(_tool_call(call))
    if document["result"] is not None:
        click.echo(f"\nresult\n{_shortened(document['result'])}")


def _print_subtasks(document: JsonObject) -> None:
    if sys.stdout.isatty():
        Console().print(tree_of(document))
        return
    for task in document["tasks"]:
        click.echo(line_of(task))


def _metadata(metadata: JsonObject) -> str | None:
    return one_line(json.dumps(metadata, ensure_ascii=False), 500) if metadata else None


def _plan(plan: JsonObject | None) -> str | None:
    if plan is None:
        return None
    return f"version {plan['version']} by {plan['source']} in {plan['tries']} tries"


def _budget(budget: JsonObject) -> str:
    parts = [
        f"{budget[f'used_{name}']:.{digits}f} of {budget[name] or 'any'} {name}"
        for name, digits in (("tokens", 0), ("calls", 0), ("seconds", 1))
    ]
    return f"{', '.join(parts)} ({budget['id']})"


def _call(call: JsonObject) -> str:
    number = f"call {call['try']}.{call['number']}"
    tokens = f"{call['prompt_tokens']} read, {call['generated_tokens']} written"
    return f"{number}  {call['model']} at {call['host']}  {call['seconds']:.1f} s  {tokens}"


def _tool_call(call: JsonObject) -> str:
    given = one_line(f"{call['tool']} {call['arguments']}", 120)
    came = f"refused: {call['refused']}" if call["refused"] else call["result"]
    return f"tool {call['try']}.{call['number']}  {given}  →  {one_line(came, 200)}"


def _shortened(result: Any) -> str:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2)
    safe = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text[:LONGEST_RESULT])
    left = len(text) - len(safe)
    return f"{safe}\n… and {left} more characters: `--json` has them" if left > 0 else safe
