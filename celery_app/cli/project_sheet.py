"""How a project looks at a terminal: what is known of it, its goals, and its artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from celery_app.cli.options import JsonObject
from celery_app.cli.screen import one_line, print_pairs, print_table
from workflows.gantt import span_of

__all__ = ["print_artifacts", "print_sheet"]

_ANSWERS = {True: "holds", False: "does not hold", None: "a person has to say"}


def print_sheet(document: JsonObject) -> None:
    """Print the document of a project."""
    print_pairs(_pairs(document))
    click.echo()
    likely = (document["timeline"] or {}).get("milestones", {})
    rows = [
        (g["name"], g["state"], ", ".join(g["needs"]), _expected(likely.get(g["name"])), g["description"])
        for g in document["goals"]
    ]  # fmt: skip
    print_table(("goal", "state", "needs", "half by", "what"), rows)
    for line in _checks(document):
        click.echo(line)
    if document["artifacts"]:
        click.echo()
        print_artifacts(document["artifacts"])


def print_artifacts(artifacts: list[JsonObject]) -> None:
    """Print artifacts, the newest first."""
    rows = [
        (a["name"], a["type"], a["size"], a["sha256"][:12], (a["run"] or "-")[:8], a["created_at"][:19])
        for a in artifacts
    ]  # fmt: skip
    print_table(("artifact", "type", "bytes", "sha256", "run", "made"), rows)


def _pairs(document: JsonObject) -> Iterator[tuple[str, Any]]:
    figures = document["figures"]
    yield "project", document["name"]
    yield "id", document["id"]
    yield "description", one_line(document["description"])
    yield "deadline", document["deadline"]
    yield "timeline", _course(document["timeline"])
    yield "tasks", ", ".join(f"{n} {state}" for state, n in figures["tasks"].items())
    yield "tokens", _tokens(figures)
    yield "seconds", f"{figures['seconds']:.1f} at work" if figures["tasks"] else None
    yield "budget", _budget(document["resources"]["budget"])
    for goal, risk in figures["risks"].items():
        yield "at risk", f"goal {goal} {risk}" if goal else f"the project {risk}"


def _course(timeline: JsonObject | None) -> str | None:
    if timeline is None:
        return None
    likely = timeline["likely"]
    return (
        f"{span_of(timeline['duration'])} ({span_of(timeline['planned_duration'])} planned), "
        f"half of the courses within {span_of(likely['p50'])}, nine of ten within {span_of(likely['p90'])}"
    )


def _tokens(figures: JsonObject) -> str | None:
    if not figures["calls"]:
        return None
    return (
        f"{figures['prompt_tokens']} read and {figures['generated_tokens']} written "
        f"in {figures['calls']} model calls"
    )


def _budget(budget: JsonObject) -> str:
    return ", ".join(f"{most:g} {name}" for name, most in budget.items() if most is not None)


def _expected(likely: JsonObject | None) -> str:
    return "" if likely is None else span_of(likely["p50"])


def _checks(document: JsonObject) -> Iterator[str]:
    for goal in document["goals"]:
        for check, holds in goal["checks"].items():
            accepted = f", accepted by {goal['accepted_by']}" if goal["accepted_by"] else ""
            answer = "accepted" if holds is None and accepted else _ANSWERS[holds]
            yield f"  {goal['name']}: {one_line(check)}: {answer}{accepted if holds is None else ''}"
