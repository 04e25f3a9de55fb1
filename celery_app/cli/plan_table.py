"""A plan and its price as a person reads them, before anything is run."""

from __future__ import annotations

import click

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import one_line, print_table

__all__ = ["print_plan"]


def print_plan(plan: JsonObject) -> None:
    """Print the steps of a plan, where it came from, and what it will cost."""
    rows = [
        (
            number,
            step["title"] or step["description"],
            step["agent"] or "",
            ", ".join(str(needed) for needed in step["needs"]) or "-",
            ", ".join(step["input_names"]) or "-",
        )
        for number, step in enumerate(plan["steps"], start=1)
    ]
    print_table(("step", "title", "agent", "needs", "inputs"), rows)
    price = plan["price"]
    source = one_line(plan["source"], 20)
    click.echo(
        f"\nplan by {source} in {plan['tries']} tries; "
        f"about {price['calls']} calls, {price['tokens']} tokens, {price['seconds']:.0f} s of work,"
        f" {price['critical_seconds']:.0f} s when enough runs in parallel"
    )
