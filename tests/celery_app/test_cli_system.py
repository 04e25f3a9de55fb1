"""The console command as it is used: real processes, real servers, what they print and how they end.

One home, one worker that the first waiting command starts by itself, and a model server of five lines
that says what it is told to.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, ClassVar

import httpx
import psutil
import pytest

from celery_app.security.keys import KeyRing
from celery_app.stack.stack import Stack

COMMAND = [sys.executable, "-m", "celery_app"]


class Model(BaseHTTPRequestHandler):
    """An Ollama server that answers every question alike, and holds some back until it may."""

    may_answer: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "0.0.0", "models": [{"model": "smollm2:135m"}]}')

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        if "patience" in asked:
            self.may_answer.wait(60)
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.end_headers()
        body = json.loads(asked)
        words = {"role": "assistant", "content": answer_to(body.get("format"))}
        last = {"done_reason": "stop", "prompt_eval_count": 12, "eval_count": 6}
        reply = {"model": body.get("model"), "message": words, "done": True, **last}
        self.wfile.write(json.dumps(reply).encode() + b"\n")

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


def answer_to(schema: dict[str, Any] | None) -> str:
    """Take the first choice wherever there are choices to be taken; else say something."""
    properties = (schema or {}).get("properties", {})
    if properties and all("enum" in one for one in properties.values()):
        return json.dumps({key: one["enum"][0] for key, one in properties.items()})
    return "Rivers run to the sea."


@dataclass(frozen=True)
class Console:
    """Runs `ai-agent` in one environment."""

    home: Path
    environ: dict[str, str]

    def run(
        self, *arguments: str, code: int = 0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == code, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    @contextmanager
    def started(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A command while it runs, with its stderr (and stdout) to be read."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        environ = options.pop("env", self.environ)
        with subprocess.Popen([*COMMAND, *arguments], env=environ, **options) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Model.may_answer.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def console(model: str) -> Iterator[Console]:
    """A prepared home whose worker was started by the first command that needed one."""
    home = Path(tempfile.mkdtemp(prefix="ai-cli-", dir="/tmp"))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environ = {
        **kept,
        "AI_AGENT_HOME": str(home),
        "AI_AGENT__COMPONENTS__OLLAMA__HOSTS": f"[{model!r}]",
        "PYTHONUTF8": "1",
    }
    console = Console(home, environ)
    try:
        # Servers alone, and no model server of their own: the tests bring one.
        Stack(home, [s for s in Stack(home).servers if s.name != "model"]).start()
        yield console
    finally:
        subprocess.run([*COMMAND, "down"], env=environ, check=True, capture_output=True)
        assert processes_of(home) == []
        shutil.rmtree(home)


def processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes that work for the home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AI_AGENT_HOME") == str(home):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def read_until(stream: IO[str] | None, words: str) -> str:
    """Read lines until one holds `words`; return them all."""
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if words in line:
            return seen
    pytest.fail(f"{words!r} never came: {seen}")


def test_a_task_from_submit_to_result(console: Console) -> None:
    task_id = console.run("task", "submit", "--task", "chore.echo", "--arg", '{"é": [1]}').stdout
    task_id = task_id.strip()
    assert re.fullmatch(r"[0-9a-f-]{36}", task_id)
    waited = console.run("task", "wait", task_id[:13])
    assert "starting one in the background" in waited.stderr
    assert json.loads(waited.stdout) == {"é": [1]}

    overview = console.json("status")
    assert overview["up"]["detached"] is True
    assert len(overview["workers"]) == 1
    assert overview["tasks"]["succeeded"] >= 1

    followed = console.run("task", "events", task_id, "--follow", "--json").stdout.splitlines()
    kinds = [json.loads(line)["kind"] for line in followed]
    assert (kinds[0], kinds[-1]) == ("queued", "succeeded")

    document = console.json("task", "show", task_id)
    assert document["state"] == "succeeded"
    assert document["tasks"] == []


def test_a_graph_that_fails_and_is_tried_again(console: Console, tmp_path: Path) -> None:
    bad, after = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
    tasks: list[dict[str, Any]] = [
        {"id": bad, "task": "chore.fail", "args": ["on purpose"]},
        {"id": after, "task": "chore.echo", "args": [1], "dependencies": [bad]},
    ]
    graph = tmp_path / "graph.json"
    graph.write_text(json.dumps(tasks))
    task_id = console.run("task", "submit", "--graph", str(graph)).stdout.strip()
    waited = console.run("task", "wait", task_id, code=1)
    assert waited.stdout == ""
    assert waited.stderr.startswith("error: ")
    assert waited.stderr.count("\n") == 1

    shown = console.run("task", "show", task_id).stdout
    assert "on purpose" in shown
    assert "skipped" in shown
    console.run("task", "retry", task_id)
    console.run("task", "wait", task_id, code=1)

    assert "no task id begins with" in console.run("task", "show", "feed", code=2).stderr
    ambiguous = console.run("task", "show", "00000000-0000-4000", code=2)
    assert "several ids" in ambiguous.stderr
    graph.write_text(json.dumps([{**tasks[0], "dependencies": "x"}]))
    refused = console.run("task", "submit", "--graph", str(graph), code=2)
    assert "graph.json: tasks[0]" in refused.stderr


def test_run_prints_the_result_alone(console: Console) -> None:
    done = console.run("run", "Write about rivers", "--no-plan")
    assert done.stdout == "Rivers run to the sea.\n"
    states = [line.split()[0] for line in done.stderr.splitlines()]
    assert states[0] == "task"
    assert states[-1] == "succeeded"
    assert set(states) <= {"task", "no", "waiting", "queued", "running", "succeeded"}


def test_run_as_json_is_the_whole_tree(console: Console) -> None:
    document = console.json("run", "Write about rivers, then about lakes", "--priority", "high")
    assert (document["state"], document["priority"]) == ("succeeded", "high")
    assert document["plan"]["version"] == 1
    assert document["tasks"] != []
    assert {task["parent_id"] for task in document["tasks"]} == {document["id"]}
    assert "Rivers run to the sea." in document["result"]


def test_run_without_patience_leaves_the_job_running(console: Console) -> None:
    left = console.run("run", "Show patience", "--no-plan", "--timeout", "1", code=1)
    task_id = left.stderr.split()[1]
    assert f"it goes on: `ai-agent task wait {task_id}`" in left.stderr
    assert console.run("task", "cancel", task_id).stdout == f"{task_id} is cancelled\n"


def test_an_interrupt_without_a_terminal_leaves_the_job_running(console: Console) -> None:
    with console.started("run", "Show patience", "--no-plan") as process:
        read_until(process.stderr, "running")
        process.send_signal(signal.SIGINT)
        told = read_until(process.stderr, "goes on")
        assert process.wait(20) == 130
    task_id = told.split("task ")[1].split()[0]
    # It is cancelled only here: a task that is over would not be.
    assert console.run("task", "cancel", task_id).stdout == f"{task_id} is cancelled\n"


def test_an_interrupt_on_a_terminal_asks_what_to_do(console: Console) -> None:
    ours, theirs = pty.openpty()
    environ = {**console.environ, "TERM": "xterm"}
    with console.started(
        "run", "Show patience", "--no-plan", stdin=theirs, stderr=theirs, env=environ
    ) as process:
        os.close(theirs)
        seen = read_terminal(ours, "running")
        process.send_signal(signal.SIGINT)
        read_terminal(ours, "leave it running or cancel?")
        os.write(ours, b"c\n")
        read_terminal(ours, "is cancelled")
        assert process.wait(20) == 130
    os.close(ours)
    task_id = seen.split("task ")[1].split()[0]
    assert console.json("task", "show", task_id)["state"] == "cancelled"


def read_terminal(descriptor: int, words: str) -> str:
    """Read what a terminal shows until `words` come."""
    seen = b""
    while words not in seen.decode(errors="replace"):
        readable, _, _ = select.select([descriptor], [], [], 30)
        try:
            seen += os.read(descriptor, 4096) if readable else pytest.fail(f"never came: {seen!r}")
        except OSError:  # so Linux tells that nobody writes any more
            pytest.fail(f"{words!r} never came: {seen.decode(errors='replace')}")
    return seen.decode(errors="replace")


def test_a_reader_that_leaves_early_sees_no_error(console: Console) -> None:
    with console.started("task", "list", "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_doctor_is_content(console: Console) -> None:
    findings = console.json("doctor")
    assert {finding["level"] for finding in findings} <= {"ok", "warn"}
    assert {"python", "packages", "postgres", "valkey", "worker", "tables"} <= {
        finding["subject"] for finding in findings if finding["level"] == "ok"
    }


def test_one_up_in_the_foreground_beside_servers_that_are_not_its_own(
    console: Console, tmp_path: Path
) -> None:
    """With configured services `up` runs the processes alone, and `down` leaves a terminal's be."""
    second = Console(tmp_path, {**console.environ, **configured(console, tmp_path)})
    with second.started("up", "--no-flower", stderr=subprocess.STDOUT) as process:
        read_until(process.stdout, "ready: worker, beat")
        assert "runs already" in second.run("up", code=2).stderr
        assert f"process {process.pid}" in second.run("down", code=2).stderr
        process.send_signal(signal.SIGINT)
        read_until(process.stdout, "SIGINT: stopping")
        assert process.wait(40) == 0
    assert not [line for line in processes_of(tmp_path / "home") if "celery" in line]
    assert console.json("status")["workers"] != []


def test_up_and_status_tell_where_flower_is_and_its_password(
    console: Console, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    second = Console(tmp_path, {**console.environ, **configured(console, tmp_path)})
    rules = "rules: [{effect: allow, who: ['*'], may: ['*']}]\n"
    (tmp_path / "policies.yaml").write_text(rules)
    address, place = f"http://127.0.0.1:{port}", tmp_path / "home" / "flower"
    with second.started("up", f"--flower-port={port}", stderr=subprocess.STDOUT) as process:
        told = read_until(process.stdout, "its user and password stand in")
        assert "ready: worker, beat, flower" in told
        assert f"{address} (its user and password stand in {place})" in told
        assert second.json("status")["flower"] == {"address": address, "password_file": str(place)}
        assert f"stand in {place}" in second.run("status").stdout
        # It may take longer than the worker.
        if "Visit me at" not in told:
            read_until(process.stdout, "Visit me at")
        login = tuple(place.read_text().strip().split(":"))
        assert httpx.get(f"{address}/tasks").status_code == 401
        assert httpx.get(f"{address}/tasks", auth=(login[0], login[1])).status_code == 200
        process.send_signal(signal.SIGTERM)
        read_until(process.stdout, "SIGTERM: stopping")
        assert process.wait(60) == 0


def test_a_server_that_does_not_answer_is_4(console: Console, tmp_path: Path) -> None:
    environ = configured(console, tmp_path, host="127.0.0.1", port=1)
    refused = console.run("task", "list", code=4, **environ)
    assert refused.stderr.startswith("error: Postgres at ")
    assert refused.stderr.count("\n") == 1
    assert "fail  database" in console.run("doctor", code=4, **environ).stdout


def configured(console: Console, folder: Path, **database: Any) -> dict[str, str]:
    """Return the environment of a configured system that uses the servers of the console's home."""
    addresses = {server["name"]: server["address"] for server in Stack(console.home).status()}
    found = Path(addresses["postgres"]).parent
    ring = KeyRing(folder / "keys")
    ring.appoint(ring.add())
    (folder / "policies.yaml").write_text("rules: []\n")
    settings = {
        "components": {
            "message_bus": {"unix_socket": addresses["valkey"], "db": 1},
            "database": {"host": str(found), "name": "postgres", **database},
        },
        "security": {
            "encryption": {"key_path": "keys"},
            "permissions": {"policy_file": "policies.yaml"},
        },
    }
    (folder / "system.yaml").write_text(json.dumps(settings))
    return {"CONFIG_PATH": str(folder), "AI_AGENT_HOME": str(folder / "home")}
