"""A run of a workflow on a terminal: its steps in order, what they wait for, and what came of them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import one_line

__all__ = ["print_run"]

_MARKS = {
    "pending": ("·", "dim"),
    "running": ("●", "cyan"),
    "waiting": ("◌", "yellow"),
    "success": ("✓", "green"),
    "error": ("✗", "bold red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("↷", "dim"),
}


def print_run(document: JsonObject) -> None:
    """Print a run."""
    console = Console()
    for step in document["steps"]:
        mark, style = _MARKS[step["state"]]
        console.print(
            Text.assemble((mark, style), f" {step['id']}  ", (one_line(step["state"]), style))
        )
