"""A run of a workflow on a terminal: its steps under branch lines, with their states and times.

Below a step stands in one line what went wrong with it, why it was skipped, or what it asks a person,
with the command that answers.

Invariant: whatever was written by models and people is shown without its control characters; and each
line says all that matters without its colour.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush

from rich.console import Console, Group, RenderableType
from rich.text import Text

from celery_app.cli.branch_lines import Branch, branches
from celery_app.cli.options import JsonObject
from celery_app.cli.progress import Look, News
from celery_app.cli.screen import SHORT_ID, one_line, print_pairs, seconds_of
from workflows.step import WorkflowStep
from workflows.workflow import Workflow

__all__ = ["facts_of", "look_of", "print_run", "sheet"]

LONGEST_ID = 32

_LOOKS = {
    "pending": ("·", "dim"),
    "queued": ("○", "dim"),
    "running": ("●", "cyan"),
    "expanded": ("●", "cyan"),
    "waiting": ("◌", "yellow"),
    "success": ("✓", "green"),
    "succeeded": ("✓", "green"),
    "error": ("✗", "bold red"),
    "failed": ("✗", "bold red"),
    "cancelled": ("⊘", "yellow"),
    "skipped": ("↷", "dim"),
}
_SKIPPED = {
    "condition": "its condition did not hold",
    "failure": "something before it failed",
    "unused": "not needed",
}
_OVER = ("success", "error", "cancelled", "skipped")
#: What the tasks of a step are called, by its kind.
_PARTS = {"workflow": "steps"}


def sheet(
    document: JsonObject,
    workflow: Workflow,
    *,
    now: datetime | None = None,
    height: int | None = None,
) -> RenderableType:
    """Return the picture of a run: a line about the whole, its steps, and how many are over.

    `document` is the public one of the run, `workflow` the definition that it keeps. What runs has run
    until `now`. Of more lines than `height` those about the first steps, which are over, are left out.
    """
    lines: list[Text] = []
    first_open = None
    for row in _rows(document, workflow):
        if first_open is None and row.step["state"] not in _OVER:
            first_open = len(lines)
        lines += [row.line(now), *row.notes(document["id"])]
    if height is not None and len(lines) > height:
        lines = _shortened(lines, max(2, height), first_open or 0)
    return Group(_heading(document, now), *lines, *_asked_inside(document), _totals(document))


def look_of(workflow: Workflow) -> Look:
    """Return how a run of the workflow is shown while it goes on."""
    return Look(
        lambda document, console: sheet(document, workflow, height=console.height - 6),
        lambda document: _news(document, workflow),
    )


def print_run(document: JsonObject, workflow: Workflow) -> None:
    """Print a run with what it was started with."""
    print_pairs(
        [
            ("run", document["id"]),
            ("started by", document["trigger"]),
            ("due", document["due"]),
            ("forked from", document["forked_from"]),
            ("inputs", one_line(document["inputs"] or "", 200)),
        ]
    )
    Console(soft_wrap=not sys.stdout.isatty()).print(sheet(document, workflow))


def facts_of(step: JsonObject, definition: WorkflowStep, now: datetime | None = None) -> list[str]:
    """Return how long a step took, how many of its parts are over, and how often it was tried again."""
    facts = []
    if step["state"] != "skipped" and (seconds := _seconds(step, now)) is not None:
        facts.append(seconds)
    tasks = step["tasks"]
    if definition.loop is not None and tasks:
        facts.append(f"round {len(tasks)} of up to {definition.loop.max}")
    elif definition.foreach is not None:
        facts += _counted(tasks, "items") if tasks or step["state"] == "success" else []
    elif len(tasks) > 1:
        facts += _counted(tasks, _PARTS.get(step["kind"], "tasks"))
    if retries := sum(max(0, task.get("attempts", 1) - 1) for task in tasks):
        facts.append(f"{retries} {'retry' if retries == 1 else 'retries'}")
    return facts


@dataclass(frozen=True)
class _Row:
    """A step in the picture: how it stands, what it is, its branch lines, and how wide all ids are."""

    step: JsonObject
    definition: WorkflowStep
    branch: Branch
    width: int

    def line(self, now: datetime | None) -> Text:
        """Return the line of the step."""
        state = self.step["state"]
        mark, style = _LOOKS[state]
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(self.branch.left, style="dim")
        line.append(mark, style=style)
        line.append(f"{self.branch.right} ", style="dim")
        line.append(f"{one_line(self.step['id'], LONGEST_ID):<{self.width}}")
        line.append(f"  {state}", style=style)
        for fact in facts_of(self.step, self.definition, now):
            line.append(f"  {fact}", style="dim")
        return line

    def notes(self, run_id: str) -> Iterator[Text]:
        """Yield the lines below it."""
        for words, style in self._words(run_id):
            # A command is to be copied: nothing of it may be cut off.
            line = Text(no_wrap=not words.startswith("ai-agent"), overflow="ellipsis")
            line.append(f"{self.branch.below}   ", style="dim")
            yield line.append(words, style=style)

    def _words(self, run_id: str) -> Iterator[tuple[str, str]]:
        state, reason = self.step["state"], self.step["reason"]
        if state == "skipped":
            yield _SKIPPED.get(reason, one_line(reason or "", 200)), "dim"
        elif self.step["error"]:
            yield one_line(_message(self.step["error"]), 200), "red"
        elif state == "waiting" and self.step.get("question"):
            for words in _question(self.step["question"], run_id, self.step["id"]):
                yield words, "yellow"
        elif reason:
            yield one_line(reason, 200), "dim"


def _rows(document: JsonObject, workflow: Workflow) -> Iterator[_Row]:
    steps = {step["id"]: step for step in document["steps"]}
    order = [step for step in _in_order(workflow) if step in steps]
    needs = {step: [each for each in workflow.needs[step] if each in steps] for step in order}
    # Where lines would take all the room, steps stand below each other without any.
    lines = branches(needs) or dict.fromkeys(order, Branch("", "", ""))
    width = max((min(len(step), LONGEST_ID) for step in order), default=0)
    for step in order:
        yield _Row(steps[step], workflow.step(step), lines[step], width)


def _in_order(workflow: Workflow) -> Iterator[str]:
    """Yield the steps as they stand in the file, but each after what it needs."""
    places = {step.id: place for place, step in enumerate(workflow.steps)}
    open_needs = {step: len(workflow.needs[step]) for step in places}
    ready = [place for step, place in places.items() if not open_needs[step]]
    heapify(ready)
    while ready:
        step = workflow.steps[heappop(ready)].id
        yield step
        for after in workflow.graph.dependents(step):
            open_needs[after] -= 1
            if not open_needs[after]:
                heappush(ready, places[after])


def _heading(document: JsonObject, now: datetime | None) -> Text:
    mark, style = _LOOKS[document["state"]]
    line = Text(f"{mark} ", style=style, no_wrap=True, overflow="ellipsis")
    line.append(one_line(document["workflow"], LONGEST_ID), style="bold")
    line.append(f"  {document['state']}", style=style)
    line.append(f"  {document['id'][:SHORT_ID]}", style="dim")
    if (seconds := _seconds(document, now)) is not None:
        line.append(f"  {seconds}", style="dim")
    if document["error"]:
        line.append(f"\n  {one_line(_message(document['error']), 200)}", style="red")
    return line


def _totals(document: JsonObject) -> Text:
    states = Counter(step["state"] for step in document["steps"])
    done = sum(states[state] for state in _OVER)
    words = [f"{done} of {states.total()} steps are over"]
    words += [
        f"{states[state]} {name}"
        for state, name in (("error", "failed"), ("skipped", "skipped"), ("cancelled", "cancelled"))
        if states[state]
    ]
    tokens = sum((document.get("tokens") or {}).values())
    if tokens:
        words.append(f"{tokens} tokens")
    return Text(", ".join(words), style="dim", no_wrap=True, overflow="ellipsis")


def _asked_inside(document: JsonObject) -> Iterator[Text]:
    """Yield what workflows inside this one ask."""
    for question in document.get("questions", ()):
        if question["run"] != document["id"]:
            for words in _question(question, question["run"], question["step"]):
                yield Text(words, style="yellow")


def _question(question: JsonObject, run_id: str, step: str) -> Iterator[str]:
    options = question.get("options")
    choice = f" (one of: {', '.join(options)})" if options else ""
    yield one_line(f"{question['question']}{choice}", 500)
    place = f"{run_id[:SHORT_ID]} {shlex.quote(step)}"
    answer = " --answer VALUE" if options or question.get("schema") else ""
    yield f"ai-agent workflow approve {place}{answer}"
    yield f"ai-agent workflow reject {place}"


def _shortened(lines: list[Text], height: int, first_open: int) -> list[Text]:
    """Return as many lines as there is room for, from shortly before the first step that is not over."""
    kept = height - 1
    begin = min(max(0, first_open - 1), len(lines) - kept)
    left = Text(f"… {len(lines) - kept} more lines", style="dim")
    return [left, *lines[begin : begin + kept]]


def _news(document: JsonObject, workflow: Workflow) -> Iterator[News]:
    for step in document["steps"]:
        state = step["state"]
        words = [f"{state:<9}", step["id"], *facts_of(step, workflow.step(step["id"]))]
        row = _Row(step, workflow.step(step["id"]), Branch("", "", ""), 0)
        words += [f"({note.plain.strip()})" for note in row.notes(document["id"])]
        yield News(step["id"], state, "  ".join(words))
    yield News(document["id"], document["state"], _heading(document, None).plain)


def _counted(tasks: list[JsonObject], name: str) -> Iterator[str]:
    counts = Counter(task["state"] for task in tasks)
    # An item that its condition refuses is over as well.
    done = counts.pop("succeeded", 0) + counts.pop("skipped", 0)
    yield f"{done}/{len(tasks)} {name}"
    counts.pop("pending", 0)
    yield from (f"{number} {state}" for state, number in sorted(counts.items()))


def _message(error: JsonObject | str) -> str:
    if isinstance(error, str):
        return error
    return str(error.get("message") or error.get("type") or "it failed")


def _seconds(shown: JsonObject, now: datetime | None) -> str | None:
    # What waits or has begun counts on, as a task that runs does.
    going_on = shown["state"] in ("waiting", "running", "expanded")
    seconds = seconds_of({**shown, "state": "running" if going_on else shown["state"]}, now)
    return None if seconds is None else _duration(seconds)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
