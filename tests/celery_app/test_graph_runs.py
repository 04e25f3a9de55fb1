"""Graphs of plain Celery tasks on the real servers, run by a real worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery.exceptions import NotRegistered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_app.client import Client
from celery_app.errors import TaskCancelled, TaskFailed, WaitTimeout
from celery_app.handles import TaskHandle
from celery_app.orchestrator.task_manager import TaskManager
from tests.worker_process import WorkerProcess
from workflows.errors import CycleError, InvalidTask, UnknownDependency
from workflows.task import Priority, Task, TaskType

pytestmark = pytest.mark.usefixtures("worker")


def echo(value: Any, *needed: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "task": "chore.echo",
        "args": [value],
        "dependencies": list(needed),
    }


def sleep(seconds: float, *needed: Any) -> dict[str, Any]:
    return {**echo(seconds, *needed), "task": "chore.sleep"}


def fail(message: str, *needed: Any) -> dict[str, Any]:
    return {**echo(message, *needed), "task": "chore.fail"}


def moments(handle: TaskHandle, kind: str) -> Mapping[str, datetime]:
    return {
        event["task_id"]: datetime.fromisoformat(event["at"])
        for event in handle.events()
        if event["kind"] == kind
    }


@st.composite
def acyclic(draw: st.DrawFn) -> list[list[int]]:
    """For each node, the earlier nodes that it depends on."""
    size = draw(st.integers(1, 60))
    return [
        draw(st.lists(st.integers(0, node - 1), max_size=3, unique=True)) if node else []
        for node in range(size)
    ]


@given(acyclic())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_graph_runs_each_task_once_and_in_its_own_order(
    client: Client, shape: list[list[int]]
) -> None:
    ids = [str(uuid4()) for _ in shape]
    tasks = [
        {**echo(node), "id": ids[node], "dependencies": [ids[needed] for needed in shape[node]]}
        for node in range(len(shape))
    ]
    handle = client.submit_graph(tasks)
    assert handle.result(timeout=60) == {ids[node]: node for node in range(len(shape))}

    events = [event for event in handle.events() if event["task_id"] in ids]
    by_kind = {
        kind: [event for event in events if event["kind"] == kind]
        for kind in ("queued", "started", "succeeded")
    }
    for found in by_kind.values():
        assert sorted(event["task_id"] for event in found) == sorted(ids)
    # A task is released by the very commit that finishes the last of its own dependencies.
    finished = {event["task_id"]: event for event in by_kind["succeeded"]}
    for event in by_kind["queued"]:
        needed = shape[ids.index(event["task_id"])]
        if needed:
            last = max((finished[ids[node]] for node in needed), key=lambda end: end["id"])
            assert event["transaction"] == last["transaction"]
            assert event["cause"] == last["task_id"]
    started = {event["task_id"]: event["id"] for event in by_kind["started"]}
    for event in by_kind["queued"]:
        assert started[event["task_id"]] > event["id"]


def test_a_join_waits_for_its_own_parts_only(client: Client) -> None:
    a, b = echo("a"), sleep(1.5)
    c, d = echo("c", a["id"]), echo("d", a["id"], b["id"])
    handle = client.submit_graph([a, b, c, d])
    handle.result(timeout=30)
    assert moments(handle, "started")[c["id"]] < moments(handle, "succeeded")[b["id"]]
    assert moments(handle, "started")[d["id"]] > moments(handle, "succeeded")[b["id"]]


def test_what_needs_a_failure_is_skipped_and_the_rest_goes_on(client: Client) -> None:
    bad = fail("no luck")
    after = echo(1, bad["id"])
    further = echo(2, after["id"])
    other = echo("fine")
    handle = client.submit_graph([bad, after, further, other])
    with pytest.raises(TaskFailed, match="no luck"):
        handle.result(timeout=30)
    tree = handle.tree()
    states = {task["id"]: task["state"] for task in tree["tasks"]}
    assert states == {
        bad["id"]: "failed",
        after["id"]: "skipped",
        further["id"]: "skipped",
        other["id"]: "succeeded",
    }
    assert bad["id"] in tree["error"]["message"]
    with pytest.raises(TaskFailed, match="skipped, because"):
        client.task(further["id"]).result(timeout=5)


def test_cancelling_stops_a_running_subtree_at_once(client: Client) -> None:
    first = sleep(60)
    second = echo(1, first["id"])
    handle = client.submit_graph([first, second])
    while client.task(first["id"]).state != "running":
        time.sleep(0.02)
    begun = time.monotonic()
    handle.cancel()
    with pytest.raises(TaskCancelled):
        handle.result(timeout=10)
    assert time.monotonic() - begun < 5
    assert {task["state"] for task in handle.tree()["tasks"]} == {"cancelled"}


def test_waiting_may_end_before_the_work(client: Client) -> None:
    task = sleep(30)
    handle = client.submit_graph([task])
    with pytest.raises(WaitTimeout, match="it goes on"):
        handle.result(timeout=0.3)
    handle.cancel()


def test_a_timeout_fails_the_task(client: Client) -> None:
    task = {**sleep(60), "timeout": 0.5}
    handle = client.submit_graph([task])
    with pytest.raises(TaskFailed, match="deadline"):
        handle.result(timeout=20)


def test_an_error_is_tried_again_as_its_policy_says(client: Client) -> None:
    task = {**fail("never"), "retry": {"max": 1, "seconds": 0.1}}
    handle = client.submit_graph([task])
    with pytest.raises(TaskFailed, match="never"):
        handle.result(timeout=30)
    assert handle.tree()["tasks"][0]["attempts"] == 2


def own(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "task": f"own.{name}", "args": list(args), "kwargs": kwargs}


def test_a_users_own_tasks_are_steps_under_their_own_names(client: Client) -> None:
    words = own("join_words", "good", "day", between=", ")
    patient = {**own("third_time"), "dependencies": [words["id"]]}
    handle = client.submit_graph([words, patient])
    assert handle.result(timeout=30) == {words["id"]: "good, day", patient["id"]: 2}
    assert [task["attempts"] for task in handle.tree()["tasks"]] == [1, 3]


@pytest.mark.parametrize(("name", "words"), [("never", "still wobbling"), ("no_json", "JSON")])
def test_what_a_users_task_does_wrong_is_told(client: Client, name: str, words: str) -> None:
    with pytest.raises(TaskFailed, match=words):
        client.submit_graph([own(name)]).result(timeout=30)


def test_subtasks_may_have_subtasks(client: Client) -> None:
    a, b, c = echo("a"), echo("b"), echo("c")
    inner = {
        "id": str(uuid4()),
        "description": "inner",
        "subtasks": [b, c],
        "dependencies": [a["id"]],
    }
    last = echo("last", inner["id"])
    result = client.submit_graph([a, inner, last]).result(timeout=30)
    assert result == {a["id"]: "a", inner["id"]: {b["id"]: "b", c["id"]: "c"}, last["id"]: "last"}


def test_a_task_may_depend_on_one_that_is_over(client: Client) -> None:
    a = echo("a")
    client.submit_graph([a]).result(timeout=30)
    b = echo("b", a["id"])
    assert client.submit_graph([b]).result(timeout=30) == {b["id"]: "b"}


def test_a_long_chain_is_cut_and_runs_in_order(client: Client) -> None:
    tasks = [echo(0)]
    for step in range(1, 60):
        tasks.append(echo(step, tasks[-1]["id"]))
    handle = client.submit_graph(tasks)
    handle.result(timeout=60)
    started = moments(handle, "started")
    order = [started[task["id"]] for task in tasks]
    assert order == sorted(order)


async def submitted_as_the_specification_writes_it(task: Task) -> UUID:
    return await TaskManager().submit_task(task)


def test_the_specifications_own_words(client: Client) -> None:
    import asyncio

    task = Task(
        type=TaskType.CHORE, description="say it", priority=Priority.HIGH, deadline=None,
        task="chore.echo", args=["said"], metadata={"kept": True},
    )  # fmt: skip
    task_id = asyncio.run(submitted_as_the_specification_writes_it(task))
    assert task_id == task.id
    assert client.task(task_id).result(timeout=30) == "said"
    assert client.task(task_id).tree()["metadata"] == {"kept": True}
    assert TaskManager().tasks[task_id].state == "succeeded"


def test_one_idempotency_key_is_one_task(client: Client) -> None:
    key = uuid4().hex
    tasks = [
        Task(description="x", task="chore.echo", args=[1], idempotency_key=key) for _ in range(2)
    ]
    first, second = (TaskManager().submit(task) for task in tasks)
    assert first == second


@pytest.mark.parametrize(
    ("tasks", "error", "words"),
    [
        ([], InvalidTask, "no tasks"),
        ([{"id": "x", "task": "chore.echo"}], InvalidTask, r"tasks\[0\]"),
        ([{"task": "chore.eco"}], InvalidTask, "chore.echo"),
        ([echo(1, str(uuid4()))], UnknownDependency, "hand it in first|not"),
        ([{**echo(1), "deadline": datetime.now(UTC) - timedelta(days=1)}], InvalidTask, "deadline"),
        ([{**echo(1), "required_capabilities": ["flying"]}], InvalidTask, "flying"),
        ([{**echo(1), "colour": "red"}], InvalidTask, "colour"),
    ],
)
def test_bad_graphs_are_refused_with_the_place_and_leave_nothing(
    client: Client, tasks: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    before = len(TaskManager().tasks)
    with pytest.raises(error, match=words) as caught:
        client.submit_graph(tasks)
    assert "\n" not in str(caught.value)
    assert len(TaskManager().tasks) == before


def test_a_circle_is_named(client: Client) -> None:
    a, b = echo(1), echo(2)
    a["dependencies"], b["dependencies"] = [b["id"]], [a["id"]]
    with pytest.raises(CycleError, match=a["id"]):
        client.submit_graph([a, b])


def test_a_task_that_is_no_step_of_a_graph_is_ordinary_celery(
    client: Client, worker: WorkerProcess
) -> None:
    from celery_app.celery import app

    assert app.send_task("chore.echo", args=["plain"]).get(timeout=30) == "plain"


def test_a_message_for_an_unknown_task_harms_nobody(client: Client, worker: WorkerProcess) -> None:
    from celery_app.celery import app

    lost = app.send_task("nobody.knows.it", queue="tasks")
    with pytest.raises(NotRegistered):
        lost.get(timeout=30)
    task = echo("still here")
    assert client.submit_graph([task]).result(timeout=30) == {task["id"]: "still here"}
    assert worker.process.poll() is None
