"""`ai-agent test`: what it prints and writes, how it ends, and what it records and replays."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.testing.from_run import suite_from
from celery_app.testing.model import Scripted, StandIn
from celery_app.testing.suite import Rule
from tests.worker_process import WorkerProcess

SUITES = Path(__file__).parent / "suites"

CRITICAL = """\
name: critical
cases:
  - {name: good, steps: [{task: chore.echo, args: [1]}], checks: [{equals: 1}]}
  - name: bad
    critical: true
    steps: [{task: chore.echo, args: [1]}]
    checks: [{equals: 2}]
  - {name: never, steps: [{task: chore.echo, args: [1]}]}
"""
ASKING = """\
name: asking
cases:
  - name: asks
    repeat: 2
    pass_rate: 0.5
    steps: [{agent: writer, prompt: Write one sentence on bees.}]
    checks: [{contains: honey}]
"""


def invoke(*args: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["test", *map(str, args)], standalone_mode=False)
    code = result.exit_code if result.exception else int(result.return_value or 0)
    return code, result.stdout, result.stderr


@pytest.mark.timeout(400)
def test_a_critical_failure_ends_the_suite(tmp_path: Path) -> None:
    suite = tmp_path / "critical.agenttest.yaml"
    suite.write_text(CRITICAL)
    code, out, told = invoke(tmp_path, "--json", "--junit", tmp_path / "out.xml")
    assert code == 1, told
    [document] = json.loads(out)
    assert [each["status"] for each in document["results"]] == ["passed", "failed", "skipped"]
    [error] = document["results"][1]["errors"]
    assert error == {
        "place": f"{suite}:7: case bad: check 1",
        "reason": "it is '1', not '2'",
    }
    assert "✓ good" in told
    assert "✗ bad" in told
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    [element] = root.findall("testsuite")
    assert dict(element.attrib) | {"time": ""} == {
        "name": "critical", "tests": "3", "failures": "1", "skipped": "1", "time": "",
    }  # fmt: skip
    failure = element.find("testcase[@name='bad']/failure")
    assert failure is not None
    assert failure.get("message") == f"{suite}:7: case bad: check 1: it is '1', not '2'"


@pytest.mark.timeout(400)
def test_answers_are_recorded_and_replayed_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "asking.agenttest.yaml"
    suite.write_text(ASKING)
    assert "record the answers of the suite with --record" in _refused("--replay", suite)
    with StandIn(
        Scripted([Rule(when="bees", answer="Bees make honey.")]), ["smollm2:135m"]
    ) as model:
        monkeypatch.setenv("AI_AGENT__COMPONENTS__OLLAMA__HOSTS", f"[{model.address}]")
        code, out, told = invoke(suite, "--record")
        assert code == 0, out + told
        assert "2 of 2, 95 % interval 0.34 to 1.00" in out
        assert len([path for path, _ in model.asked if path == "/api/chat"]) == 2
    code, out, told = invoke(suite, "--replay")
    assert code == 0, out + told
    suite.write_text(ASKING.replace("bees", "wasps"))
    code, out, _ = invoke(suite, "--replay")
    assert code == 1
    assert "has no answer to 'Write one sentence on wasps. Write at most 3 sentences.'" in out
    assert "record it again with --record" in out
    assert "stale   asking: nobody asked any more:" in out


def _refused(*args: str | Path) -> str:
    result = CliRunner().invoke(cli, ["test", *map(str, args)], standalone_mode=False)
    assert getattr(result.exception, "exit_code", None) == 2
    return str(result.exception)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "there is no such file" in _refused(tmp_path / "none.yaml")
    (tmp_path / "bad.agenttest.yaml").write_text("name: a\ncases:\n  - {nam: b}\n")
    told = _refused(tmp_path)
    assert "bad.agenttest.yaml:3: case #1: nam is no known key: did you mean 'name'?" in told


def test_the_schema_and_the_help() -> None:
    assert "cases" in json.loads(invoke("schema")[1])["properties"]
    assert "--record" in invoke("--help")[1]
    assert "PATH..." in invoke("run", "--help")[1]


@pytest.mark.timeout(400)
def test_a_suite_from_a_run(client: Client, worker: WorkerProcess, tmp_path: Path) -> None:
    run = client.start_workflow(SUITES / "flows" / "ask.yaml", {"word": "ho"})
    while not run.tree()["questions"]:
        assert run.state not in ("failed", "succeeded")
    run.approve("ask")
    run.result(timeout=60)
    said = suite_from(client, run.id)
    [case] = said["cases"]
    assert [next(iter(step)) for step in case["steps"]] == ["id", "approve", "wait"]
    path = {"ran": ["ask", "say", "both"], "times": {"both": 2}}
    assert {"path": path, "of": "run"} in case["checks"]
    (tmp_path / "again.agenttest.yaml").write_text(invoke("from-run", str(run.id))[1])
    assert yaml.safe_load((tmp_path / "again.agenttest.yaml").read_text()) == said
    said["model"] = "real"
    (tmp_path / "again.agenttest.yaml").write_text(yaml.safe_dump(said))
    code, out, told = invoke(tmp_path / "again.agenttest.yaml")
    assert code == 0, out + told


def test_a_suite_from_tasks(client: Client, worker: WorkerProcess) -> None:
    graph = client.submit_graph(
        [{"id": "6d1f6d0e-6ac3-4c11-a5a6-111111111111", "task": "chore.echo", "args": [[1]]}]
    )
    graph.result(timeout=60)
    [case] = suite_from(client, graph.id, "again")["cases"]
    assert case["steps"] == [{"id": "task-1", "task": "chore.echo", "args": [[1]]}]
    assert case["checks"] == [
        {"state": "succeeded", "of": "task-1"},
        {"schema": {"type": "array"}, "of": "task-1"},
    ]
