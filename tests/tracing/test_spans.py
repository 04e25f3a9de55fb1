"""Ids, sampling, and what is made of the journal: nothing runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource

from celery_app.orchestrator.spans import SpanMaker
from celery_app.security.vault import Vault
from celery_app.store.ends import Ended, ModelCall, Moment
from celery_app.tracing import is_sampled, span_id, trace_id

START = datetime(2026, 11, 1, tzinfo=UTC)
KINDS = [
    "queued",
    "published",
    "started",
    "lost",
    "returned",
    "retried",
    "waiting",
    "expanded",
    "at-risk",
]


def ended(kinds: list[str], parent: str | None = None) -> Ended:
    """Return a task to which these things happened, one each second."""
    task_id = str(uuid4())
    moments = [Moment(START + timedelta(seconds=n), kind) for n, kind in enumerate(kinds)]
    return Ended(
        id=task_id, root_id=parent or task_id, parent_id=parent, name="task.run", type="general",
        agent="writer", queue="agent.writer", step=None, workflow=None, state=kinds[-1], losses=0,
        prompt_tokens=7, generated_tokens=2, created_at=START, spec=b"{}", error=None, moments=moments,
    )  # fmt: skip


def made(task: Ended) -> list[tuple[str, float, float]]:
    """Return the spans of a task as (name, first second, last second), without its own."""
    spans = SpanMaker(Resource({}), Vault()).spans(task)[1:]
    begin = START.timestamp()
    return [
        (s.name, (s.start_time or 0) / 1e9 - begin, (s.end_time or 0) / 1e9 - begin) for s in spans
    ]


def test_a_trace_is_called_as_its_run() -> None:
    task_id = str(uuid4())
    assert f"{trace_id(task_id):032x}" == UUID(task_id).hex


def test_the_share_of_runs_is_as_it_was_asked_for() -> None:
    """Which it is not by the bits of a UUID, as OpenTelemetry's own sampler takes them."""
    ids = [str(UUID(int=number << 66 | 2 << 62 | number, version=4)) for number in range(2000)]
    assert all(is_sampled(task_id, 1.0) for task_id in ids)
    assert not any(is_sampled(task_id, 0.0) for task_id in ids)
    assert 400 < sum(is_sampled(task_id, 0.25) for task_id in ids) < 600


def test_waiting_and_attempts_are_told_apart() -> None:
    task = ended(["queued", "published", "started", "lost", "published", "started", "succeeded"])
    assert made(task) == [
        ("wait for agent.writer", 0, 2),
        ("attempt 1", 2, 3),
        ("wait for agent.writer", 3, 5),
        ("attempt 2", 5, 6),
    ]


def test_one_that_begins_anew_without_a_word_lost_its_worker() -> None:
    assert made(ended(["started", "started", "succeeded"])) == [
        ("attempt 1", 0, 1),
        ("attempt 2", 1, 2),
    ]


def test_a_call_belongs_to_the_attempt_in_which_it_was_recorded() -> None:
    task = ended(["queued", "started", "lost", "started", "succeeded"])
    at = START + timedelta(seconds=1.5)
    task.model_calls.append(ModelCall(at, 0.25, "m", "http://gpu1:11434", 10, 3, 0, 0))
    [*_, call] = SpanMaker(Resource({}), Vault()).spans(task)
    assert call.parent is not None
    assert call.parent.span_id == span_id(task.id, "attempt", 1)
    assert call.attributes is not None
    assert (call.attributes["server.address"], call.attributes["server.port"]) == ("gpu1", 11434)
    assert (call.end_time or 0) - (call.start_time or 0) == 250_000_000


@given(st.lists(st.sampled_from(KINDS)), st.sampled_from(["succeeded", "failed", "cancelled"]))
def test_whatever_happened_every_span_hangs_below_its_task(kinds: list[str], end: str) -> None:
    task = ended([*kinds, end], parent=str(uuid4()))
    own, *rest = SpanMaker(Resource({}), Vault()).spans(task)
    assert own.parent is not None
    assert own.parent.span_id == span_id(str(task.parent_id))
    ids = {span.context.span_id for span in (own, *rest)}
    assert len(ids) == len(rest) + 1
    for span in rest:
        assert span.parent is not None
        assert span.parent.span_id == span_id(task.id)
        assert (own.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0)
        assert (span.end_time or 0) <= (own.end_time or 0)


def python(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_without_tracing_nothing_of_it_is_imported() -> None:
    """Of what sends spans, that is: redis-py measures with OpenTelemetry where it finds it."""
    done = python(
        "import sys, celery_app.celery, celery_app.worker.work, celery_app.orchestrator.journal_reader\n"
        "print([n for n in sys.modules if n.startswith('opentelemetry.exporter')])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(("enabled", "words"), [("true", "ai-agent-system[otel]"), ("false", "")])
def test_without_the_packages_all_works_but_tracing(enabled: str, words: str) -> None:
    done = python(
        "import sys; sys.modules['opentelemetry'] = None\nimport celery_app.celery",
        AI_AGENT__MONITORING__TRACING__ENABLED=enabled,
    )
    assert words in done.stderr
    assert (done.returncode == 0) == (enabled == "false"), done.stderr
