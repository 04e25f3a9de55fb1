"""A run that would exceed its budget waits, says so, and goes on when it is given more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until
from tests.faults.model import AnsweringModel
from tests.worker_process import WorkerProcess
from workflows.errors import InvalidTask


@pytest.fixture(scope="module")
def model() -> Iterator[AnsweringModel]:
    with AnsweringModel() as server:
        yield server


@pytest.fixture(scope="module")
def worker(client: Client, model: AnsweringModel) -> Iterator[WorkerProcess]:
    with WorkerProcess(AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{model.address}]") as process:
        yield process


def question(*needed: dict[str, Any]) -> dict[str, Any]:
    ids = [task["id"] for task in needed]
    return {"id": str(uuid4()), "description": "Say whether it is so.", "dependencies": ids}


def in_a_row(count: int) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for _ in range(count):
        tasks.append(question(*tasks[-1:]))
    return tasks


def states(handle: TaskHandle) -> list[str]:
    return [task["state"] for task in handle.tree()["tasks"]]


def wait_for_state(handle: TaskHandle, state: str) -> None:
    wait_until(lambda: handle.state == state, 30, f"it is {handle.state}, not {state}")


@pytest.mark.usefixtures("worker")
def test_a_run_stops_at_its_calls_and_goes_on_with_more(
    client: Client, model: AnsweringModel
) -> None:
    before = len(model.asked)
    handle = client.submit_graph(in_a_row(4), resources={"model_calls": 2})
    wait_for_state(handle, "waiting")
    assert states(handle) == ["succeeded", "succeeded", "waiting", "pending"]
    assert len(model.asked) == before + 2
    (third,) = [task for task in handle.tree()["tasks"] if task["state"] == "waiting"]
    assert "of 2 calls, 2 are used" in client.task(third["id"]).tree()["reason"]
    handle.give(calls=2)
    handle.result(timeout=30)
    (budget,) = handle.tree()["budgets"]
    assert (budget["used_calls"], budget["calls"]) == (4, 4)
    assert budget["used_tokens"] == 4 * 13
    # An attempt that was stopped by the budget was no try.
    from celery_app.celery import database

    row = database.row("SELECT sum(tries) AS n FROM task WHERE root_id = :id", id=str(handle.id))
    assert row.n == 0


@pytest.mark.usefixtures("worker")
def test_calls_at_once_never_exceed_it_together(client: Client) -> None:
    """Each may use some 150 tokens and uses 13: they take turns, and nobody has to give more."""
    handle = client.submit_graph([question() for _ in range(8)], resources={"tokens": 500})
    handle.result(timeout=60)
    (budget,) = handle.tree()["budgets"]
    assert budget["used_tokens"] == 8 * 13


@pytest.mark.usefixtures("worker")
def test_a_single_task_waits_for_its_own_budget(client: Client, model: AnsweringModel) -> None:
    before = len(model.asked)
    handle = client.submit("Say whether it is so.", plan=False, resources={"tokens": 20})
    wait_for_state(handle, "waiting")
    assert len(model.asked) == before
    handle.give(tokens=1000)
    assert handle.result(timeout=30)


@pytest.mark.usefixtures("worker")
def test_time_at_work_is_a_budget_too(client: Client) -> None:
    tasks: list[dict[str, Any]] = []
    for _ in range(4):
        needed = [task["id"] for task in tasks[-1:]]
        sleep = {"id": str(uuid4()), "task": "chore.sleep", "args": [0.3], "dependencies": needed}
        tasks.append(sleep)
    handle = client.submit_graph(tasks, resources={"seconds": 0.5})
    wait_for_state(handle, "waiting")
    assert states(handle) == ["succeeded", "succeeded", "waiting", "pending"]
    handle.give(seconds=10)
    handle.result(timeout=30)
    assert 1.2 <= handle.tree()["budgets"][0]["used_seconds"] < 3


@pytest.mark.usefixtures("worker")
def test_a_project_has_one_budget_for_all_its_runs(client: Client) -> None:
    project = f"p-{uuid4().hex[:8]}"
    client.set_project_budget(project, calls=3)
    first = client.submit_graph(in_a_row(2), project=project)
    first.result(timeout=30)
    second = client.submit_graph(in_a_row(2), project=project)
    wait_for_state(second, "waiting")
    client.set_project_budget(project)
    second.result(timeout=30)


@pytest.mark.usefixtures("worker")
def test_what_waits_can_be_cancelled(client: Client) -> None:
    handle = client.submit_graph(in_a_row(3), resources={"model_calls": 1})
    wait_for_state(handle, "waiting")
    handle.cancel()
    assert states(handle) == ["succeeded", "cancelled", "cancelled"]


def test_only_what_has_a_budget_can_be_given_more(client: Client) -> None:
    handle = client.submit_graph([{"id": str(uuid4()), "task": "chore.echo", "args": [1]}])
    with pytest.raises(InvalidTask, match="has no budget of its own"):
        handle.give(tokens=1)
    handle.cancel()


@pytest.mark.usefixtures("worker")
def test_the_commands_show_it_and_give_more(client: Client) -> None:
    project = f"p-{uuid4().hex[:8]}"
    handle = client.submit_graph(in_a_row(2), resources={"model_calls": 1}, project=project)
    wait_for_state(handle, "waiting")

    def ai_agent(*args: str) -> str:
        done = CliRunner().invoke(cli, args, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    shown = ai_agent("task", "show", str(handle.id))
    assert "1 of 1 calls" in shown
    assert "waits: the budget stands against it: of 1 calls, 1 are used" in shown
    ai_agent("task", "give", str(handle.id), "--calls", "1")
    handle.result(timeout=30)
    assert "2 of any number" in ai_agent("project", "budget", project)
    assert "of 5" in ai_agent("project", "budget", project, "--calls", "5")
