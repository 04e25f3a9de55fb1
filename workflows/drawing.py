"""A workflow as a Mermaid flowchart.

Shapes tell the kind of work; edges tell on what a step runs; marks tell conditions and repetition.

Invariant: whatever stands in ids, questions and expressions, Mermaid reads it as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from workflows.state import StepStatus
from workflows.step import WorkflowStep
from workflows.workflow import Workflow

__all__ = ["arrow_of", "marks_of", "mermaid", "undo_of", "work_of"]

_SHAPES = {
    "agent": ("([", "])"),
    "task": ("[", "]"),
    "workflow": ("[[", "]]"),
    "plan": ("{{", "}}"),
    "approval": ("{", "}"),
}
_ARROWS = {
    "success": "-->",
    "failure": "-. on failure .->",
    "always": "-- always -->",
    "fallback": "-. fallback .->",
    "compensate": "-. compensate .->",
}
_COLOURS = {
    StepStatus.RUNNING: "fill:#d7ecff,stroke:#1a73e8",
    StepStatus.WAITING: "fill:#fff4cf,stroke:#b06f00",
    StepStatus.SUCCESS: "fill:#dcf3e0,stroke:#188038",
    StepStatus.ERROR: "fill:#fbdcd9,stroke:#c5221f",
    StepStatus.CANCELLED: "fill:#eeeeee,stroke:#7a5b00",
    StepStatus.SKIPPED: "fill:#f4f4f4,stroke:#9aa0a6",
}
_LONGEST = 60


def mermaid(workflow: Workflow, states: Mapping[str, StepStatus] | None = None) -> str:
    """Return the workflow as the text of a Mermaid flowchart, from top to bottom.

    `states` are those of a run's steps, and become colours.
    """
    nodes = {step.id: f"s{number}" for number, step in enumerate(workflow.steps)}
    lines = ["flowchart TD"]
    for step in workflow.steps:
        opening, closing = _SHAPES[step.kind]
        lines.append(f'    {nodes[step.id]}{opening}"{"<br/>".join(_words(step))}"{closing}')
    for step_id, needed in workflow.needs.items():
        arrow = _ARROWS[arrow_of(workflow.step(step_id), workflow.fallbacks)]
        lines.extend(f"    {nodes[other]} {arrow} {nodes[step_id]}" for other in needed)
    for step in workflow.steps:
        if (undo := undo_of(step)) is not None:
            name = f"{nodes[step.id]}undo"
            lines.append(f'    {name}["{_text(undo)}"]')
            lines.append(f"    {nodes[step.id]} {_ARROWS['compensate']} {name}")
    lines.extend(_coloured(nodes, states or {}))
    return "\n".join(lines) + "\n"


def arrow_of(step: WorkflowStep, standing_in: Mapping[str, str]) -> str:
    """Return on what the step runs: success, failure, always or, as a `fallback`, for another one."""
    return "fallback" if step.id in standing_in else step.run_on


def work_of(step: WorkflowStep) -> str:
    """Return in short what the step does."""
    if step.kind == "agent":
        return f"agent {step.agent or ', '.join(step.capabilities)}"
    if step.approval is not None:
        return f"approval: {step.approval.question}"
    return f"{step.kind} {step.task or step.workflow or step.plan}"


def marks_of(step: WorkflowStep) -> Iterator[tuple[str, str]]:
    """Yield on what and how often the step is done: words that may be cut, and those behind them."""
    if step.when is not True:
        yield f"when {step.when}", ""
    if step.foreach is not None:
        at_once = f", {step.max_parallel} at a time" if step.max_parallel else ""
        yield f"for each of {step.foreach}", at_once
    if step.loop is not None:
        yield f"until {step.loop.until}", f", {step.loop.max} times at most"
    if step.on_error == "continue":
        yield "may fail", ""


def undo_of(step: WorkflowStep) -> str | None:
    """Return in short what undoes the step, or None."""
    work = step.compensate
    if work is None:
        return None
    return f"undo: {work.task or work.workflow or work.agent or ', '.join(work.capabilities)}"


def _words(step: WorkflowStep) -> Iterator[str]:
    yield f"<b>{_text(step.id)}</b>"
    yield _text(work_of(step))
    for words, end in marks_of(step):
        yield _text(words, end)


def _coloured(nodes: Mapping[str, str], states: Mapping[str, StepStatus]) -> Iterator[str]:
    for state, colours in _COLOURS.items():
        if named := [nodes[step] for step in nodes if states.get(step) == state]:
            yield f"    classDef {state} {colours}"
            yield f"    class {','.join(named)} {state}"


def _text(text: str, end: str = "") -> str:
    """Return text that Mermaid shows as it is: on one line, not too long, without its own signs."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 1]}…"
    plain = (
        letter if letter.isalnum() or letter in " .,:?_-…" else f"#{ord(letter)};"
        for letter in line
    )
    return "".join(plain) + end
