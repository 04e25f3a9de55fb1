"""Tools in the hands of agents on real workers: policy, record, replay, cancelling, and the console."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.errors import TaskFailed
from celery_app.handles import TaskHandle
from tests.agents.web_server import WebServer, moved, said
from tests.celery_app.tool_model import Decide, ToolModel
from tests.worker_process import WorkerProcess
from workflows.errors import InvalidTask, InvalidWorkflow

pytestmark = pytest.mark.timeout(120)

TOOLS = "[calculate, http_get, read_file, read_artifact, search_documents, jot, die, wait]"
ROSTER = """
defaults: {{model: "{model}", options: {{num_ctx: 4096, num_predict: 120}}, tool_form: {form}}}
agents:
  planner: {{capabilities: [planning]}}
  writer: {{capabilities: [writing], tools: {tools}}}
  reviewer: {{capabilities: [review], tools: [calculate]}}
"""


def roster(folder: Path, *, model: str = "m", form: str = "native", tools: str = TOOLS) -> Path:
    path = folder / "agents.yaml"
    path.write_text(ROSTER.format(model=model, form=form, tools=tools), encoding="utf-8")
    return path


@contextmanager
def working(
    folder: Path, decide: Decide, **tools: str
) -> Iterator[tuple[ToolModel, dict[str, str]]]:
    """A model server, and the environment of workers that ask it; `tools` are settings."""
    with ToolModel(decide) as model:
        yield (
            model,
            {
                "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": f"[{model.address}]",
                "AI_AGENT__AGENTS_FILE": str(roster(folder)),
                **{f"AI_AGENT__TOOLS__{key.upper()}": value for key, value in tools.items()},
            },
        )


def in_turn(*answers: str | list[tuple[str, dict[str, Any]]]) -> Decide:
    """Answer by how many tools have been called in a conversation."""

    def decide(body: dict[str, Any]) -> str | list[tuple[str, dict[str, Any]]]:
        turns = sum(message["role"] == "assistant" for message in body["messages"])
        return answers[int(min(turns, len(answers) - 1))]

    return decide


def told(model: ToolModel) -> list[str]:
    """What the model was told of its calls, in the end."""
    last = max(model.asked, key=lambda body: len(body["messages"]))
    return [message["content"] for message in last["messages"] if message["role"] == "tool"]


def calls(handle: TaskHandle) -> list[tuple[str, str | None]]:
    return [(call["tool"], call["refused"]) for call in handle.tree()["tool_calls"]]


def test_an_agent_uses_what_it_may_and_all_of_it_is_recorded(
    client: Client, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "mill.txt").write_text("The mill was built in 1804.")
    (tmp_path / "secret.txt").write_text("secret")
    (notes / "link").symlink_to(tmp_path / "secret.txt")
    with WebServer({"/": said("Open on Sundays."), "/away": moved("http://127.0.0.2/")}) as web:
        page = f"http://localhost:{web.port}"
        decide = in_turn(
            [("read_file", {"path": "mill.txt"}), ("read_file", {"path": "../secret.txt"})],
            [("read_file", {"path": "link"}), ("calculate", {"expression": "2024 - 1804"})],
            [("http_get", {"url": page}), ("http_get", {"url": f"{page}/away"})],
            [("jot", {"file": "x", "line": "y"})],
            "It is 220 years old.",
        )
        settings = {"folders": f"[{notes}]", "hosts": f"['localhost:{web.port}']"}
        with working(tmp_path, decide, **settings) as (model, environ), WorkerProcess(**environ):
            job = client.submit(
                "How old is the mill?",
                plan=False,
                agent="writer",
                tools=["read_file", "calculate", "http_get"],
                network=True,
            )
            assert job.result(timeout=60) == "It is 220 years old."
    offered = [tool["function"]["name"] for tool in model.asked[0]["tools"]]
    assert offered == ["calculate", "http_get", "read_file"]
    assert told(model)[0] == "The mill was built in 1804."
    assert told(model)[3:5] == ["220", "Open on Sundays."]
    assert calls(job) == [
        ("read_file", None),
        ("read_file", "'../secret.txt' is not below an allowed folder"),
        ("read_file", "'link' is not below an allowed folder"),
        ("calculate", None),
        ("http_get", None),
        ("http_get", "the host '127.0.0.2' (port 80) is not among tools.hosts"),
        (
            "jot",
            "the task's allowed_tools do not name 'jot': "
            "this task may use calculate, http_get, read_file",
        ),
    ]
    shown = CliRunner().invoke(cli, ["task", "show", str(job.id)]).stdout
    assert 'tool 0.3  calculate {"expression": "2024 - 1804"}  →  220' in shown
    assert "→  refused: 'link' is not below an allowed folder" in shown
    kept = job.tree()["tool_calls"][0]
    assert (kept["arguments"], kept["result"]) == ('{"path": "mill.txt"}', told(model)[0])


def test_nothing_named_no_tool_and_no_network_unless_said(client: Client, tmp_path: Path) -> None:
    decide = in_turn([("http_get", {"url": "http://localhost/"})], "No.")
    with working(tmp_path, decide) as (model, environ), WorkerProcess(**environ):
        bare = client.submit("Get the page", plan=False, agent="writer")
        with pytest.raises(TaskFailed):
            # Nothing was offered, so its call is no answer.
            bare.result(timeout=60)
        assert not model.asked[0].get("tools")
        asked: dict[str, Any] = {"plan": False, "tools": ["http_get", "calculate"]}
        offline = client.submit("Get the page", agent="writer", **asked)
        assert offline.result(timeout=60) == "No."
        reviewed = client.submit("Get the page", agent="reviewer", network=True, **asked)
        assert reviewed.result(timeout=60) == "No."
    assert "uses the network, which the task may not" in str(calls(offline)[0][1])
    assert "the agent has no tool 'http_get'" in str(calls(reviewed)[0][1])
    assert calls(bare) == []


def test_a_tool_that_there_is_not_is_refused_when_it_is_handed_in(client: Client) -> None:
    with pytest.raises(InvalidTask, match=r"allowed_tools names 'calculator'.* mean 'calculate'\?"):
        client.submit("Add", plan=False, tools=["calculator"])
    task = {"description": "Add", "security_requirements": {"allowed_tools": ["shell"]}}
    with pytest.raises(InvalidTask, match="allowed_tools names 'shell', no tool"):
        client.submit_graph([task])
    given = ["task", "submit", "--task", "chore.echo", "--tool", "calculate"]
    assert CliRunner().invoke(cli, given).exit_code == 2


def test_an_agent_with_an_unknown_tool_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AI_AGENT__AGENTS_FILE", str(roster(tmp_path, tools="[calculate, read_fle]"))
    )

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery_app", "config", "check"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    checked = check()
    assert checked.returncode == 2
    assert (
        "agent 'writer': there is no tool 'read_fle': did you mean 'read_file'?" in checked.stderr
    )
    monkeypatch.setenv("AI_AGENT__AGENTS_FILE", str(roster(tmp_path)))
    assert check().returncode == 0
    monkeypatch.setenv("AI_AGENT__TOOLS__IMPORTS", "[tests.own_tools.jott]")
    assert "the tool tests.own_tools:jott cannot be imported" in check().stderr


def test_results_and_inputs_of_the_run_are_read(client: Client, tmp_path: Path) -> None:
    decide = in_turn(
        [("search_documents", {"words": "visitors mill"}), ("read_artifact", {"name": "Figures"})],
        "Read.",
    )
    policy = {"allowed_tools": ["read_artifact", "search_documents"]}
    figures, last, kept = str(uuid4()), str(uuid4()), str(uuid4())
    with working(tmp_path, decide) as (model, environ), WorkerProcess(**environ):
        graph = client.submit_graph(
            [
                {
                    "id": figures,
                    "task": "chore.echo",
                    "args": ["3,200 visitors came."],
                    "metadata": {"title": "Figures"},
                },
                {
                    "id": kept,
                    "task": "chore.echo",
                    "args": ["Visitors of the mill by name: ..."],
                    "security_requirements": {"level": "secret"},
                },
                {
                    "id": last,
                    "description": "How many came?",
                    "agent": "writer",
                    "inputs": [{"name": "mill.md", "text": "The mill has one wheel."}],
                    "dependencies": [figures, kept],
                    "security_requirements": policy,
                },
            ]
        )
        assert graph.result(timeout=60)[last] == "Read."
    found, read = told(model)
    assert found.splitlines() == [
        "Figures (start=0): 3,200 visitors came.",
        "mill.md (start=0): The mill has one wheel.",
    ]
    assert read == "3,200 visitors came."


WORKFLOW = """
name: age
steps:
  - id: age
    agent: writer
    prompt: How old is it?
    tools: [calculate]
outputs: {age: "{{ steps.age.output }}"}
"""


def test_a_step_of_a_workflow_has_tools(client: Client, tmp_path: Path) -> None:
    (tmp_path / "age.yaml").write_text(WORKFLOW)
    (tmp_path / "wrong.yaml").write_text(WORKFLOW.replace("calculate", "calculates"))
    with pytest.raises(InvalidWorkflow, match="there is no tool 'calculates'"):
        client.start_workflow(tmp_path / "wrong.yaml")
    decide = in_turn([("calculate", {"expression": "2024 - 1804"})], "220 years.")
    with working(tmp_path, decide) as (model, environ), WorkerProcess(**environ):
        run = client.start_workflow(tmp_path / "age.yaml")
        assert run.result(timeout=60) == {"age": "220 years."}
    assert told(model) == ["220"]


def submit_mortal(client: Client) -> TaskHandle:
    return client.submit("Note it.", plan=False, agent="writer", tools=["jot", "die"])


def mortal(tmp_path: Path) -> Decide:
    note = {"file": str(tmp_path / "notes"), "line": "once"}
    return in_turn([("jot", note)], [("die", {"marker": str(tmp_path / "died")})], "Noted.")


def test_a_redelivered_task_calls_no_tool_twice(client: Client, tmp_path: Path) -> None:
    with working(tmp_path, mortal(tmp_path)) as (model, environ):
        with WorkerProcess(**environ) as doomed:
            job = submit_mortal(client)
            assert doomed.wait(timeout=60) == -9
        assert calls(job) == [("jot", None)]
        with WorkerProcess(**environ):
            assert job.result(timeout=60) == "Noted."
    assert (tmp_path / "notes").read_text() == "once\n"
    assert calls(job) == [("jot", None), ("die", None)]
    # Nor is the model asked again what it was asked before.
    assert [len(body["messages"]) for body in model.asked] == [2, 4, 6]
    assert job.tree()["attempts"] == 2


def test_without_the_record_it_would_be_called_again(client: Client, tmp_path: Path) -> None:
    from celery_app.celery import database

    with working(tmp_path, mortal(tmp_path)) as (_, environ):
        with WorkerProcess(**environ) as doomed:
            job = submit_mortal(client)
            assert doomed.wait(timeout=60) == -9
        database.rows("DELETE FROM tool_call WHERE task_id = :id", id=str(job.id))
        with WorkerProcess(**environ):
            assert job.result(timeout=60) == "Noted."
    assert (tmp_path / "notes").read_text() == "once\nonce\n"


def test_cancelling_ends_a_tool(client: Client, tmp_path: Path) -> None:
    with (
        working(tmp_path, in_turn([("wait", {"seconds": 60})], "Late.")) as (model, environ),
        WorkerProcess(**environ) as worker,
    ):
        job = client.submit("Wait", plan=False, agent="writer", tools=["wait"], timeout=60)
        until = time.monotonic() + 30
        while not model.asked and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        job.cancel()
        # The one place of this worker's is free at once.
        after = {"id": str(uuid4()), "task": "chore.echo", "args": [1]}
        assert client.submit_graph([after]).result(timeout=10) == {after["id"]: 1}
        assert job.state == "cancelled"
        assert worker.process.poll() is None
    assert calls(job) == []


@pytest.mark.model
def test_the_smallest_model_uses_tools_by_schema(client: Client, tmp_path: Path) -> None:
    path = roster(tmp_path, model="smollm2:135m", form="schema")
    with WorkerProcess(AI_AGENT__AGENTS_FILE=str(path)):
        job = client.submit(
            "What is 840 * 12.5 / 100? Use calculate.",
            plan=False,
            agent="writer",
            tools=["calculate"],
        )
        assert job.result(timeout=100).strip()
    made = job.tree()["tool_calls"]
    assert {call["tool"] for call in made} <= {"calculate"}
    assert all(call["refused"] is None for call in made)
    assert made
