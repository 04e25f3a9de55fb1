"""Runs in real workers, and the traces that a receiver gets of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.testing.processes import wait_until
from celery_app.tracing import span_id
from tests.faults.model import AnsweringModel
from tests.tracing.receiver import Receiver, Span
from tests.worker_process import WorkerProcess

#: Stands in what tasks are about, and what the model says.
SECRET, ANSWER = "the-mill-on-the-Aller", "It is so"
DOCUMENT = f"# {SECRET}\n\n## The wheel\n\nIt has one wheel.\n\n## The visitors\n\nIt had many.\n"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture(scope="module")
def environ(
    receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Variables of workers that trace, and whose agents take any words for an answer."""
    folder = tmp_path_factory.mktemp("tracing")
    usual = Path("config/agents.yaml").read_text(encoding="utf-8")
    plain = usual.replace("quotes: true", "quotes: false").replace("assemble", "rewrite")
    (folder / "agents.yaml").write_text(plain, encoding="utf-8")
    with AnsweringModel() as model:
        yield {
            "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": f"[{model.address}]",
            "AI_AGENT__AGENTS_FILE": str(folder / "agents.yaml"),
            "AI_AGENT__MONITORING__TRACING__ENABLED": "true",
            "AI_AGENT__MONITORING__TRACING__INTERVAL": "0.2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.address,
            "OTEL_SERVICE_NAME": "mill",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }


def step(task: str, *args: Any, needs: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    needed = [one["id"] for one in needs]
    return {"id": str(uuid4()), "task": task, "args": list(args), "dependencies": needed}


def trace_of(receiver: Receiver, handle: TaskHandle) -> list[Span]:
    """Return the trace of a run once it is whole: its own span comes with its end."""
    trace = UUID(str(handle.id)).hex
    wait_until(lambda: any(not span.parent for span in receiver.of(trace)), 20, "no root came")
    return receiver.of(trace)


def assert_connected(spans: list[Span]) -> None:
    ids = [span.id for span in spans]
    assert len(ids) == len(set(ids)), "a span was sent twice"
    assert [span.parent for span in spans].count("") == 1
    astray = [span for span in spans if span.parent and span.parent not in ids]
    assert not astray, astray


def of_task(spans: list[Span], task_id: str) -> Span:
    [found] = [span for span in spans if span.id == f"{span_id(task_id):016x}"]
    return found


def below(spans: list[Span], span: Span) -> list[Span]:
    return [one for one in spans if one.parent == span.id]


@pytest.mark.chaos
def test_a_run_over_planner_chord_retry_and_kill_is_one_trace(
    client: Client, receiver: Receiver, environ: dict[str, str], tmp_path: Path
) -> None:
    planned: dict[str, Any] = {
        "id": str(uuid4()),
        "description": f"Summarise the parts of {SECRET}",
        "plan": True,
        "inputs": [{"name": "mill.md", "text": DOCUMENT}],
    }
    wobbly, mortal = step("own.third_time"), step("own.echo", SECRET)
    # Sent once one worker is gone: an ordinary message that it held would take a minute to come back.
    sender = step("own.send", SECRET, "turns", needs=(mortal,))
    joined = step("own.pair", 1, 2, needs=(planned, wobbly, mortal, sender))
    mortality = {"MORTAL_AT": f"{tmp_path}:1"}
    with WorkerProcess(**environ, **mortality) as one, WorkerProcess(**environ, **mortality) as two:
        handle = client.submit_graph([planned, wobbly, mortal, sender, joined])
        handle.result(timeout=90)
        assert sorted([one.process.poll() or 0, two.process.poll() or 0]) == [-9, 0]
        spans = trace_of(receiver, handle)
        wait_until(lambda: "own.join_words" in {s.name for s in receiver.of(spans[0].trace)}, 20)
    spans = receiver.of(spans[0].trace)
    assert_connected(spans)
    tasks = [task["id"] for task in handle.tree()["tasks"]]
    for task_id in tasks:
        assert of_task(spans, task_id).end <= of_task(spans, str(handle.id)).end
    assert {span.service for span in spans} == {"mill"}
    # The planner's subtasks hang below it, with what they asked the model.
    plan = of_task(spans, planned["id"])
    assert plan.name == "invoke_agent planner"
    agents = [span for span in below(spans, plan) if span.name.startswith("invoke_agent")]
    assert len(agents) >= 2
    calls = [span for span in spans if span.name.startswith("chat ")]
    assert len(calls) >= len(agents)
    for call in calls:
        attributes = call.attributes
        assert attributes["gen_ai.operation.name"] == "chat"
        assert attributes["gen_ai.provider.name"] == "ollama"
        assert attributes["gen_ai.request.model"] == "smollm2:135m"
        assert (
            attributes["gen_ai.usage.input_tokens"],
            attributes["gen_ai.usage.output_tokens"],
        ) == (10, 3)
        assert call.kind == 3
    # The chord's body is linked to all of its parts.
    assert set(of_task(spans, joined["id"]).links) == {
        of_task(spans, one["id"]).id for one in (planned, wobbly, mortal, sender)
    }
    outcomes = {
        one["id"]: [
            span.attributes["ai_agent.outcome"]
            for span in below(spans, of_task(spans, one["id"]))
            if span.name.startswith("attempt")
        ]
        for one in (wobbly, mortal)
    }
    # The worker that was killed may have had the other one as well.
    without_losses = [outcome for outcome in outcomes[wobbly["id"]] if outcome != "lost"]
    assert without_losses == ["retried", "retried", "succeeded"]
    assert outcomes[mortal["id"]] == ["lost", "succeeded"]
    waits = [span for span in spans if span.name == "wait for tasks"]
    assert len(waits) >= 7
    assert all(span.end >= span.begin for span in spans)
    # What a task sends by itself belongs to it.
    [ordinary] = [span for span in spans if span.name == "own.join_words"]
    assert ordinary.parent == of_task(spans, sender["id"]).id
    for words in (SECRET, ANSWER):
        assert words.encode() not in receiver.raw


def test_what_fails_is_skipped_or_cancelled_is_told(
    client: Client, receiver: Receiver, environ: dict[str, str]
) -> None:
    failing = step("own.fail", SECRET)
    skipped = step("own.echo", 1, needs=(failing,))
    with WorkerProcess(**environ):
        handle = client.submit_graph([failing, skipped])
        wait_until(lambda: handle.state == "failed", 30)
        slow = client.submit_graph([step("own.pause", 30)])
        wait_until(lambda: slow.tree()["tasks"][0]["state"] == "running", 30)
        slow.cancel()
        spans, cancelled = trace_of(receiver, handle), trace_of(receiver, slow)
    assert_connected(spans)
    assert_connected(cancelled)
    failed = of_task(spans, failing["id"])
    assert failed.bad
    assert failed.attributes["error.type"] == "Wobble"
    assert of_task(spans, skipped["id"]).attributes["ai_agent.task.state"] == "skipped"
    assert {
        s.attributes["ai_agent.task.state"] for s in cancelled if "celery.task.id" in s.attributes
    } == {"cancelled"}
    assert SECRET.encode() not in receiver.raw


def test_a_users_instrumentation_finds_its_place(client: Client, environ: dict[str, str]) -> None:
    """In the message (W3C), for what looks there; and as the current context in the body."""
    first = step("own.echo", 1)
    second = step("own.traceparents", needs=(first,))
    with WorkerProcess(**environ):
        handle = client.submit_graph([first, second])
        found = handle.result(timeout=30)[second["id"]]
    place = f"00-{UUID(str(handle.id)).hex}-{span_id(second['id']):016x}-01"
    assert found == [place, place]


def test_a_receiver_that_was_away_gets_everything_later(
    client: Client, receiver: Receiver, environ: dict[str, str]
) -> None:
    receiver.refusing.set()
    before = receiver.refused
    with WorkerProcess(**environ, OTEL_EXPORTER_OTLP_TIMEOUT="1"):
        handle = client.submit_graph([step("own.echo", 1)])
        assert handle.result(timeout=30)
        wait_until(lambda: receiver.refused > before, 20)
        receiver.refusing.clear()
        assert_connected(trace_of(receiver, handle))


def test_words_are_told_only_where_the_settings_let_them(
    client: Client, environ: dict[str, str]
) -> None:
    with Receiver() as receiver:
        more = {
            "AI_AGENT__MONITORING__TRACING__CONTENT": "true",
            "AI_AGENT__MONITORING__TRACING__ENDPOINT": receiver.address,
        }
        with WorkerProcess(**environ, **more):
            handle = client.submit(f"Say whether {SECRET} is so.", plan=False)
            handle.result(timeout=30)
            spans = trace_of(receiver, handle)
    assert SECRET in of_task(spans, str(handle.id)).attributes["gen_ai.input.messages"]
    [call] = [span for span in spans if span.name.startswith("chat ")]
    assert ANSWER in call.attributes["gen_ai.output.messages"]


def test_of_runs_that_are_not_sampled_nothing_is_told(
    client: Client, environ: dict[str, str]
) -> None:
    with Receiver() as receiver:
        more = {
            "AI_AGENT__MONITORING__TRACING__SAMPLE_RATIO": "0.5",
            "AI_AGENT__MONITORING__TRACING__ENDPOINT": receiver.address,
        }
        with WorkerProcess(**environ, **more):
            handles = [client.submit_graph([step("own.echo", 1)]) for _ in range(24)]
            for handle in handles:
                handle.result(timeout=30)
            last = client.submit_graph([step("own.echo", 1)])
            last.result(timeout=30)
            from celery_app.tracing import is_sampled

            expected = {UUID(str(h.id)).hex for h in (*handles, last) if is_sampled(str(h.id), 0.5)}
            wait_until(lambda: {span.trace for span in receiver.spans} == expected, 20)
    assert 0 < len(expected) < 25
