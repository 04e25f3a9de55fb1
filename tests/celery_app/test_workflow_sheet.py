"""How a run looks, from its document alone."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from celery_app.cli.progress import LinesDisplay
from celery_app.cli.workflow_sheet import look_of, sheet
from workflows.definitions import load
from workflows.state import StepStatus, TaskState
from workflows.workflow import Workflow

RUN = "1f2e3d4c-0000-4000-8000-000000000000"
NOW = datetime(2026, 6, 1, 12, 1, 30, tzinfo=UTC)
STARTED, FINISHED = "2026-06-01T12:00:00Z", "2026-06-01T12:00:12.500Z"

REPORT = load("""\
name: report
steps:
  - {id: outline, agent: writer, prompt: List.}
  - {id: sections, foreach: "{{ range(12) | list }}", agent: writer, prompt: Write.}
  - {id: numbers, needs: [outline], task: chore.echo, on_error: {fallback: cached}}
  - {id: cached, task: chore.echo}
  - {id: approval, needs: [sections, numbers], approval: {question: "Publish?", options: [now, later]}}
  - {id: polish, agent: writer, prompt: Again., loop: {until: "{{ loop.index > 1 }}", max: 5}}
  - {id: publish, workflow: other}
""")


def step(name: str, state: str = "pending", workflow: Workflow = REPORT, **more: Any) -> Any:
    started = STARTED if state not in ("pending", "skipped") else None
    finished = FINISHED if state in ("success", "error") else None
    return {
        "id": name, "kind": workflow.step(name).kind, "task_id": f"task-{name}", "state": state,
        "reason": None, "output": None, "error": None, "started_at": started,
        "finished_at": finished, "tasks": [], **more,
    }  # fmt: skip


def run(*steps: Any, state: str = "running", **more: Any) -> Any:
    return {
        "id": RUN, "workflow": "report", "state": state, "inputs": {}, "outputs": None,
        "error": None, "started_at": STARTED, "finished_at": None, "steps": list(steps), **more,
    }  # fmt: skip


def tasks(*states: str, attempts: int = 1) -> list[Any]:
    return [
        {"id": str(number), "state": state, "attempts": attempts, "description": ""}
        for number, state in enumerate(states)
    ]


def text(document: Any, workflow: Workflow = REPORT, width: int = 100, **more: Any) -> list[str]:
    file = StringIO()
    console = Console(file=file, width=width, color_system=None)
    console.print(sheet(document, workflow, now=NOW, **more))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_a_run_that_goes_on() -> None:
    document = run(
        step("outline", "success", tasks=tasks("succeeded")),
        step("sections", "running", tasks=tasks(*7 * ["succeeded"], *2 * ["running"], *3 * ["pending"])),
        step("numbers", "success", tasks=tasks("succeeded", attempts=3)),
        step("cached", "skipped", reason="unused"),
        step("approval"),
        step("polish"),
        step("publish"),
        tokens={"prompt": 900, "generated": 100},
    )  # fmt: skip
    assert text(document) == [
        "● report  running  1f2e3d4c  1 min 30 s",
        "✓      outline   success  12.5 s",
        "├─●    sections  running  1 min 30 s  7/12 items  2 running",
        "✓ │    numbers   success  12.5 s  2 retries",
        "├─│─↷  cached    skipped",
        "│ │      not needed",
        "·─┘    approval  pending",
        "·      polish    pending",
        "·      publish   pending",
        "3 of 7 steps are over, 1 skipped, 1000 tokens",
    ]


def test_the_picture_in_the_document_is_drawn_so() -> None:
    document = run(
        step("outline", "success", tasks=tasks("succeeded")),
        step("sections", "running", tasks=tasks(*7 * ["succeeded"], *2 * ["running"], *3 * ["pending"])),
        step("numbers", "success", tasks=tasks("succeeded", attempts=3)),
        step("cached", "skipped", reason="unused"),
        step("approval"),
        tokens={"prompt": 900, "generated": 100},
    )  # fmt: skip
    told = (Path(__file__).parents[2] / "docs/workflows.md").read_text()
    assert "```\n" + "\n".join(text(document)) + "\n```" in told


def test_a_question_stands_with_the_commands_that_answer_it() -> None:
    question = {"question": "Publish\x1b[31m it?", "options": ["now", "later"], "schema": None}
    document = run(step("approval", "waiting", question=question), state="waiting")
    assert text(document, width=60)[1:] == [
        "◌  approval  waiting  1 min 30 s",
        "     Publish [31m it? (one of: now, later)",
        "     ai-agent workflow approve 1f2e3d4c approval --answer",
        "VALUE",
        "     ai-agent workflow reject 1f2e3d4c approval",
        "0 of 1 steps are over",
    ]


def test_questions_of_workflows_inside_are_asked_under_their_own_run() -> None:
    inner: Any = {
        "run": "99999999-0000-4000-8000-000000000000", "step": "ask", "question": "Go?",
        "options": [], "schema": None,
    }  # fmt: skip
    lines = text(run(step("publish", "running"), questions=[inner]))
    assert lines[-4:-1] == [
        "Go?",
        "ai-agent workflow approve 99999999 ask",
        "ai-agent workflow reject 99999999 ask",
    ]


def test_errors_and_reasons_are_one_line() -> None:
    document = run(
        step("outline", "error", error={"type": "ValueError", "message": "first\nsecond"}),
        step("sections", "skipped", reason="failure"),
        step("approval", "skipped", reason="condition"),
        state="failed",
        error={"type": "TaskFailed", "message": "step outline\nfailed"},
        finished_at=FINISHED,
    )
    assert text(document) == [
        "✗ report  failed  1f2e3d4c  12.5 s",
        "  step outline failed",
        "✗  outline   error  12.5 s",
        "│    first second",
        "↷  sections  skipped",
        "│    something before it failed",
        "↷  approval  skipped",
        "     its condition did not hold",
        "3 of 3 steps are over, 1 failed, 2 skipped",
    ]


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (step("polish", "running", tasks=tasks("succeeded", "running")), "round 2 of up to 5"),
        (step("publish", "running", tasks=tasks("succeeded", "running")), "1/2 steps  1 running"),
        (step("sections", "success", tasks=tasks("succeeded", "skipped")), "2/2 items"),
        (step("sections", "success", tasks=[]), "0/0 items"),
        (step("sections", "error", tasks=tasks("succeeded", "failed")), "1/2 items  1 failed"),
        (step("outline", "waiting", reason="the budget is used up"), "the budget is used up"),
    ],
)
def test_parts_are_counted(shown: Any, words: str) -> None:
    assert words in "\n".join(text(run(shown)))


def test_too_many_branches_are_left_out() -> None:
    steps = "\n".join(f"  - {{id: s{n}, needs: [], task: chore.echo}}" for n in range(40))
    needs = ", ".join(f"s{n}" for n in range(40))
    wide = load(f"name: wide\nsteps:\n{steps}\n  - {{id: end, needs: [{needs}], task: chore.echo}}")
    lines = text(run(*(step(each.id, workflow=wide) for each in wide.steps)), wide, width=60)
    assert lines[1] == "· s0   pending"
    assert lines[41] == "· end  pending"


def test_of_a_long_run_what_goes_on_is_shown() -> None:
    long = load(
        "name: long\nsteps:\n" + "\n".join(f"  - {{id: s{n}, task: a.b}}" for n in range(50))
    )
    states = 30 * ["success"] + ["running"] + 19 * ["pending"]
    document = run(*(step(f"s{n}", state, long) for n, state in enumerate(states)))
    lines = text(document, long, height=10)
    assert len(lines) == 12
    assert lines[1] == "… 41 more lines"
    assert lines[3].startswith("●  s30  running")


def test_a_step_stands_below_what_it_needs_wherever_the_file_has_it() -> None:
    turned = load(
        "name: t\nsteps:\n  - {id: b, needs: [a], task: x.y}\n  - {id: a, task: x.y, needs: []}"
    )
    lines = text(run(step("b", workflow=turned), step("a", workflow=turned)), turned)
    assert [line.split()[1] for line in lines[1:3]] == ["a", "b"]


@given(st.lists(st.sampled_from(StepStatus), min_size=7, max_size=7), st.sampled_from(TaskState))
def test_every_state_is_drawn_in_sixty_columns(states: list[StepStatus], whole: TaskState) -> None:
    steps = [
        step(each.id, str(state), reason="condition" if state is StepStatus.SKIPPED else None)
        for each, state in zip(REPORT.steps, states, strict=True)
    ]
    lines = text(run(*steps, state=str(whole)), width=60)
    assert all(len(line) <= 60 for line in lines)
    for state, each in zip(states, REPORT.steps, strict=True):
        assert any(each.id in line and str(state) in line for line in lines)


def test_where_there_is_no_terminal_each_change_is_a_line() -> None:
    said: list[str] = []
    display = LinesDisplay(said.append, look_of(REPORT))
    display.show(run(step("outline", "running"), step("sections")))
    display.show(run(step("outline", "running"), step("sections")))
    failed = step("outline", "error", error={"type": "ValueError", "message": "no"})
    display.show(run(failed, step("sections"), state="failed"))
    assert [line.split()[:2] for line in said] == [
        ["running", "outline"], ["●", "report"], ["error", "outline"], ["✗", "report"],
    ]  # fmt: skip
    assert said[2].endswith("(no)")
