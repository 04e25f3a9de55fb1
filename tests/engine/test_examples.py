"""The shipped workflows run on the embedded model, with nothing given and with inputs."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.client import Client
from tests.worker_process import WorkerProcess

ROOT = Path(__file__).parents[2]
SHIPPED = ["document-summary", "market-report", "nightly-docs", "triage"]


def test_all_shipped_workflows_are_tested_here() -> None:
    assert sorted(path.stem for path in (ROOT / "config/workflows").iterdir()) == SHIPPED


def test_document_summary(client: Client, worker: WorkerProcess) -> None:
    outputs = client.run_workflow("document-summary").result(timeout=180)
    assert len(outputs["parts"]) == 3
    assert outputs["summary"].strip()


def test_market_report(client: Client, worker: WorkerProcess) -> None:
    run = client.run_workflow("market-report", topic="bees", themes=2)
    report = run.result(timeout=180)["report"]
    assert report.startswith("# The market for bees")
    assert 1 <= report.count("\n## ") <= 2
    states = {step["id"]: step["state"] for step in run.tree()["steps"]}
    assert states["approval"] == states["apology"] == "skipped"


def test_market_report_asks_a_person(client: Client, worker: WorkerProcess) -> None:
    run = client.run_workflow("market-report", topic="bees", themes=1, ask=True)
    deadline = time.monotonic() + 120
    while run.tree()["state"] != "waiting":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    [question] = run.tree()["questions"]
    assert question["question"] == "Publish the report on bees?"
    run.reject("approval", by="ann")
    assert run.result(timeout=30) == {"report": None}


def test_nightly_docs(client: Client, worker: WorkerProcess) -> None:
    page = client.run_workflow("nightly-docs").result(timeout=180)["page"]
    assert page.startswith("# What has changed")
    assert page.count("\n- ") == 2


def test_triage(client: Client, worker: WorkerProcess) -> None:
    outputs = client.run_workflow("triage").result(timeout=180)
    first, nothing, last = outputs["tickets"]
    assert nothing is None
    assert set(first) == set(last) == {"kind", "urgent"}
    assert len(outputs["urgent"]) == first["urgent"] + last["urgent"]


def test_the_readme_s_workflow(client: Client, worker: WorkerProcess, tmp_path: Path) -> None:
    found = re.search(
        r"```yaml\n(name: sections.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert found is not None
    (tmp_path / "sections.yaml").write_text(found[1])
    run = client.start_workflow(tmp_path / "sections.yaml", {"topic": "bees"})
    assert len(run.result(timeout=120)["texts"]) == 2


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["workflow", *args])
    return result.exit_code, result.stdout, result.stderr


def test_validate_tells_everything_at_once(client: Client, tmp_path: Path) -> None:
    assert invoke("validate")[0] == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "name: bad\nsteps:\n  - {id: a, agent: nobody, prompt: x}\n  - {id: b, needs: [c]}\n"
    )
    other = tmp_path / "other.yaml"
    other.write_text("name: other\nsteps: []\n")
    result = CliRunner().invoke(
        cli, ["workflow", "validate", str(bad), str(other)], standalone_mode=False
    )
    assert result.return_value == 2
    assert f"{bad}:3: step a: there is no agent 'nobody'" in result.stderr
    assert f"{bad}:4: step b:" in result.stderr
    assert f"{other}:2: there are no steps" in result.stderr
    result = CliRunner().invoke(
        cli, ["workflow", "validate", str(bad), "--json"], standalone_mode=False
    )
    assert {each["step"] for each in json.loads(result.stdout)} == {"a", "b"}


def test_graph_and_schema(client: Client, tmp_path: Path) -> None:
    code, text, _ = invoke("graph", "triage")
    assert (code, text.splitlines()[0]) == (0, "flowchart TD")
    assert invoke("graph", "triage", "--format", "svg", "--output", str(tmp_path / "t.svg"))[0] == 0
    assert (tmp_path / "t.svg").read_text().startswith("<svg")
    assert "steps" in json.loads(invoke("schema")[1])["properties"]
    assert "yaml-language-server" in invoke("schema", "--help")[1]


def test_the_commands_of_a_run(client: Client, worker: WorkerProcess, tmp_path: Path) -> None:
    flow = tmp_path / "ask.yaml"
    flow.write_text(
        "name: ask\ninputs: {word: {type: string}}\nsteps:\n"
        "  - {id: ask, approval: {question: 'Say {{ inputs.word }}?', options: [loud, soft]}}\n"
        "  - {id: say, task: chore.echo, args: ['{{ steps.ask.output.answer }} {{ inputs.word }}']}\n"
    )
    code, run_id, error = invoke("run", str(flow), "--input", "word=hi", "--detach")
    assert code == 0, error
    run_id = run_id.strip()
    deadline = time.monotonic() + 20
    while json.loads(invoke("show", run_id, "--json")[1])["state"] != "waiting":
        assert time.monotonic() < deadline
    shown = invoke("show", run_id[:13])[1]
    assert "Say hi? (one of: loud, soft)" in shown
    assert f"ai-agent workflow approve {run_id[:8]} ask --answer VALUE" in shown
    assert "waiting" in shown
    assert invoke("approve", run_id, "ask", "--answer", "loud", "--by", "ann")[0] == 0
    assert client.run(run_id).result(timeout=20) == {"say": "loud hi"}
    assert run_id[:8] in invoke("runs", "ask")[1]
    code, out, error = invoke(
        "fork", run_id, "--from", "say", "--input", "word=ho", "--detach", "--json"
    )
    assert code == 0, error
    document = json.loads(out)
    # The question names the input, so it is asked again.
    assert document["forked_from"] == run_id
    assert "triage" in invoke("list")[1]
