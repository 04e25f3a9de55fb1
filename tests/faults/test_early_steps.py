"""Steps that begin while their plan is still being said: what runs, what stops, what is done but once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from celery_app.client import Client
from celery_app.errors import TaskFailed
from celery_app.handles import TaskHandle
from celery_app.testing.model import StandIn, Unanswered
from celery_app.testing.processes import wait_until
from tests.worker_process import WorkerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

MODEL = "smollm2:135m"
ROSTER = f"""
defaults: {{model: "{MODEL}"}}
agents:
  planner: {{capabilities: [planning], plan_form: keyed, speculative: true}}
  writer: {{capabilities: [writing], joins: rewrite}}
"""
JOB = "Write a guide to the harbour"
Pieces = Sequence[str | threading.Event]


def step(number: int, action: str, *needs: int) -> str:
    return f'"{number}": ' + json.dumps({"action": action, "agent": "writer", "needs": list(needs)})


FIRST = step(1, "Collect facts about the harbour")
SECOND = step(2, "Choose topics for the guide")
LAST = step(3, "Write the guide to the harbour", 1, 2)


class Planning:
    """A model that says its plans piece by piece, where a piece may be to wait for a test.

    Attributes:
        plans: What it says, one after the other.
        steps: The actions that it was asked to do, each as often as it was asked.
        held: Actions that are answered only when the test ends.
        silent: Actions that nobody can do.
    """

    def __init__(self) -> None:
        self.plans: list[Pieces] = []
        self.steps: list[str] = []
        self.held: set[str] = set()
        self.silent: set[str] = set()
        self._over = threading.Event()

    def answer(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        if "1" in (body.get("format") or {}).get("properties", {}):
            return self._said(self.plans.pop(0))
        question = body["messages"][-1]["content"]
        action = next(each for each in ACTIONS if f"{each}. The whole job" in question)
        self.steps.append(action)
        if action in self.silent:
            raise Unanswered(f"nobody can {action}")
        return self._said([self._over] if action in self.held else [f"Done: {action}"])

    def _said(self, pieces: Pieces) -> Iterator[bytes]:
        for piece in pieces:
            if isinstance(piece, threading.Event):
                # So that the worker sees the beginning of an answer, and may hang up.
                yield _line(content="")
                piece.wait(60)
            else:
                yield _line(content=piece)
        yield _line(content="", done=True, done_reason="stop", eval_count=20, prompt_eval_count=10)

    def close(self) -> None:
        self._over.set()


ACTIONS = [
    "Collect facts about the harbour",
    "Choose topics for the guide",
    "Write the guide to the harbour",
    "Ask the harbour master",
]


def _line(content: str, done: bool = False, **more: Any) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"model": MODEL, "message": message, "done": done, **more}).encode() + b"\n"


def said(*steps: str, until: threading.Event | None = None) -> Pieces:
    """A plan; where there is something to wait for, that is in the middle of its second step."""
    text = "{" + ", ".join(steps) + "}"
    at = text.index('"2": ') + 8
    return [text] if until is None else [text[:at], until, text[at:]]


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with StandIn(Planning(), [MODEL], ("completion",)) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def worker(server: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    roster = tmp_path_factory.mktemp("roster") / "agents.yaml"
    roster.write_text(ROSTER, encoding="utf-8")
    with WorkerProcess(
        AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{server.address}]",
        AI_AGENT__COMPONENTS__OLLAMA__SLOTS="8",
        AI_AGENT__AGENTS_FILE=str(roster),
    ) as worker:
        yield worker


@pytest.fixture
def model(server: StandIn) -> Iterator[Planning]:
    planning = Planning()
    server.source = planning
    yield planning
    planning.close()


def steps_of(handle: TaskHandle) -> dict[str, dict[str, Any]]:
    """The subtasks that there are, by their titles; those of a refused plan before the others."""
    return {task["metadata"]["title"]: task for task in handle.tree()["tasks"]}


def states(handle: TaskHandle) -> dict[str, str]:
    return {title: task["state"] for title, task in steps_of(handle).items()}


def test_a_step_is_done_before_the_plan_is_whole(client: Client, model: Planning) -> None:
    go_on = threading.Event()
    model.plans = [said(FIRST, SECOND, LAST, until=go_on)]
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: states(handle) == {ACTIONS[0]: "succeeded"})
    assert handle.state == "running"
    assert handle.tree()["plan"] is None
    go_on.set()
    assert handle.result(timeout=30) == f"Done: {ACTIONS[2]}"
    assert sorted(model.steps) == sorted(ACTIONS[:3])
    tree = handle.tree()
    assert [task["metadata"]["step"] for task in tree["tasks"]] == [1, 2, 3]
    assert tree["tokens"] == {"prompt": 40, "generated": 80}
    kinds = [(event["kind"], event["task_id"] == str(handle.id)) for event in handle.events()]
    assert kinds.index(("succeeded", False)) < kinds.index(("expanded", True))


def test_what_the_plan_does_not_have_in_the_end_is_stopped(client: Client, model: Planning) -> None:
    go_on = threading.Event()
    # The second step repeats the first one, for which the plan is refused.
    refused = said(FIRST, step(2, ACTIONS[0]), LAST, until=go_on)
    model.plans = [refused, said(step(1, ACTIONS[3]), SECOND, LAST)]
    model.held = {ACTIONS[0]}
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: ACTIONS[0] in model.steps)
    go_on.set()
    assert handle.result(timeout=30) == f"Done: {ACTIONS[2]}"
    stray = steps_of(handle)[ACTIONS[0]]
    assert stray["state"] == "skipped"
    assert "the plan does not have it" in stray["error"]["message"]
    assert handle.tree()["plan"]["tries"] == 2


def test_a_step_that_was_done_for_nothing_is_no_part_of_the_result(
    client: Client, model: Planning
) -> None:
    go_on = threading.Event()
    refused = said(FIRST, step(2, ACTIONS[0]), LAST, until=go_on)
    model.plans = [refused, said(step(1, ACTIONS[3]), SECOND, LAST)]
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: states(handle) == {ACTIONS[0]: "succeeded"})
    go_on.set()
    assert handle.result(timeout=30) == f"Done: {ACTIONS[2]}"
    assert handle.tree()["tokens"]["generated"] == 20 * 6, "what it took is told all the same"


def test_a_step_that_two_tries_share_is_done_once(client: Client, model: Planning) -> None:
    go_on = threading.Event()
    refused = said(FIRST, step(2, ACTIONS[0]), LAST, until=go_on)
    model.plans = [refused, said(FIRST, SECOND, LAST)]
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: states(handle) == {ACTIONS[0]: "succeeded"})
    go_on.set()
    handle.result(timeout=30)
    assert sorted(model.steps) == sorted(ACTIONS[:3])


def test_a_plan_that_never_becomes_whole_takes_its_steps_with_it(
    client: Client, model: Planning
) -> None:
    model.plans = [said(FIRST, SECOND, LAST, until=threading.Event())]
    model.held = {ACTIONS[0]}
    handle = client.submit(JOB, plan=True, timeout=2.0)
    with pytest.raises(TaskFailed, match="deadline"):
        handle.result(timeout=30)
    # The deadline is the step's as well, and whoever notices it first tells.
    assert states(handle) in ({ACTIONS[0]: "cancelled"}, {ACTIONS[0]: "failed"})
    model.held = set()
    model.plans = [said(FIRST, SECOND, LAST)]
    handle.retry()
    assert handle.result(timeout=30) == f"Done: {ACTIONS[2]}"
    assert set(states(handle).values()) == {"succeeded"}


@pytest.mark.parametrize("again", [FIRST, step(1, ACTIONS[3])], ids=["the same", "another"])
def test_the_worker_dies_in_the_middle_of_the_plan(
    client: Client, model: Planning, worker: WorkerProcess, again: str
) -> None:
    model.plans = [said(FIRST, SECOND, LAST, until=threading.Event()), said(again, SECOND, LAST)]
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: states(handle) == {ACTIONS[0]: "succeeded"})
    worker.kill()
    worker.start()
    assert handle.result(timeout=60) == f"Done: {ACTIONS[2]}"
    done = [*ACTIONS[:3], *([] if again == FIRST else [ACTIONS[3]])]
    assert sorted(model.steps) == sorted(done), "what was done before is not done again"


def test_a_step_that_failed_before_the_plan_was_whole(client: Client, model: Planning) -> None:
    go_on = threading.Event()
    model.plans = [said(FIRST, SECOND, LAST, until=go_on)]
    model.silent = {ACTIONS[0]}
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: states(handle) == {ACTIONS[0]: "failed"})
    go_on.set()
    with pytest.raises(TaskFailed, match="2 of 3 subtasks did not succeed"):
        handle.result(timeout=30)
    assert list(states(handle).values()) == ["failed", "succeeded", "skipped"]


def test_cancelled_while_it_is_planned(client: Client, model: Planning) -> None:
    model.plans = [said(FIRST, SECOND, LAST, until=threading.Event())]
    model.held = {ACTIONS[0]}
    handle = client.submit(JOB, plan=True)
    wait_until(lambda: ACTIONS[0] in model.steps)
    handle.cancel()
    assert states(handle) == {ACTIONS[0]: "cancelled"}
    assert handle.state == "cancelled"
