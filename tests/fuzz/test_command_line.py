"""What people type: every value of every option is taken, or refused in one line with an exit code."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from celery_app.cli.main import cli
from celery_app.client import Client
from tests.fuzz.doors import Odd, anything, fuzzed, nested, real, taken, texts
from workflows.errors import AgentSystemError


@pytest.fixture(scope="module", autouse=True)
def _system(client: Client) -> Iterator[None]:
    yield


values = texts | st.sampled_from(
    ["[" * 5000, "{", "NaN", "1e999", "9" * 5000, '{"a": 1, "a": 2}', "@/dev/zero", "@/", "@a\0b", "=",
     "a=", "=a", "a=[", "a=@/nowhere", "a=NaN", "-1", "0", "1e400", "999999999d", "2026-01-01", "10000-01-01",
     "9999-12-31T23:59:59-23:59", "' OR 1=1 --", "%s%n", "../../etc/passwd", "0190c0de", "-", "--"],
)  # fmt: skip

#: A command with a hole, which is filled with whatever comes.
COMMANDS = [
    ["task", "submit", "--task", "chore.echo", "--arg"],
    ["task", "submit", "--task", "chore.echo", "--kwarg"],
    ["task", "submit", "--task"],
    ["task", "submit", "x", "--output"],
    ["task", "submit", "x", "--idempotency-key"],
    ["task", "submit", "x", "--concurrency-key"],
    ["task", "submit", "x", "--project"],
    ["task", "submit", "x", "--deadline"],
    ["task", "submit", "x", "--memory"],
    ["task", "submit", "x", "--tokens"],
    ["task", "submit", "x", "--input"],
    ["task", "submit", "--graph"],
    ["task", "submit"],
    ["task", "show"],
    ["task", "cancel"],
    ["task", "list", "--limit"],
    ["workflow", "validate"],
    ["workflow", "show"],
    ["workflow", "run", "triage", "--input"],
    ["workflow", "run"],
]


def typeable(value: str) -> bool:
    """Say whether a process can be given such an argument at all."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


values = values.filter(typeable)


def typed(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments)
    unexpected = isinstance(result.exception, Exception) and not isinstance(
        result.exception, SystemExit
    )
    assert not unexpected, result.exception
    assert "unexpected:" not in result.output, result.output[:1000]
    assert result.exit_code in (0, 1, 2, 3, 4, 130), result.exit_code
    return result


@fuzzed
@given(st.sampled_from(COMMANDS), values)
@example(["task", "submit", "--task", "chore.echo", "--arg"], "[" * 100_000)
@example(["task", "submit", "x", "--idempotency-key"], "k" * 3000)
@example(["task", "submit", "--graph"], "/dev/zero")
@example(["task", "show"], "\udc80")
@example(["workflow", "validate"], "a\udc80b")
def test_any_value_is_taken_or_refused(command: list[str], value: str) -> None:
    typed(*command, value)


@fuzzed
@given(st.dictionaries(texts, anything, max_size=3), texts, anything)
@example({"a\0": 1}, "x", None)
@example({}, "\0", None)
@example({}, "x", Odd.CIRCLE)
@example({}, "x", Odd.NOT_A_NUMBER)
def test_the_client_takes_or_refuses(
    client: Client, inputs: dict[str, Any], name: str, payload: Any
) -> None:
    taken(lambda: client.emit(name, real(payload), key=name))
    taken(lambda: client.start_workflow(name, real(inputs)))
    taken(lambda: client.start_workflow("triage", real(inputs)))
    taken(lambda: client.submit_graph([real({**inputs, "task": "chore.echo"})]))
    taken(lambda: client.task(name).state)
    taken(lambda: client.set_project_budget(name, tokens=2**62))


@pytest.mark.parametrize(
    "tasks",
    [
        [{"description": "x", "metadata": {"a": nested(500)}}],
        [{"description": "x", "project": "a\0b"}],
        [{"description": "x", "concurrency_key": "k" * 3000}],
        [{"description": "x", "resource_requirements": {"tokens": 2**70}}],
        [{"task": "chore.echo", "args": [float("inf")]}],
        [5],
    ],
)
def test_a_graph_that_cannot_be_stored_is_refused(client: Client, tasks: list[Any]) -> None:
    with pytest.raises(AgentSystemError):
        client.submit_graph(tasks)
