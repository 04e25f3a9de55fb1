"""The main job and every shipped workflow on the embedded model: what dumps of the servers show of them.

With encryption off the same scan must find every text, or it would prove nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.faults_long, pytest.mark.model, pytest.mark.timeout(1800)]

#: Does everything in a process of its own, and prints which texts the dumps showed.
WORK = """
import json, re, time
from pathlib import Path
from redis import Redis
from celery_app.celery import app, database, settings
from celery_app.client import Client
from tests.security.scan import dump
from tests.worker_process import WorkerProcess
from workflows.task import TaskInput

client = Client()
text = Path("config/examples/valley-library.md").read_text()
redis = Redis(unix_socket_path=str(settings.components.message_bus.unix_socket))
flows = {
    "document-summary": {"text": f"## planted-text\\n\\n{text}"},
    "market-report": {"topic": "planted-topic", "themes": 1, "ask": True},
    "nightly-docs": {"notes": ["A planted-note about opening hours was put on the door."]},
    "triage": {"tickets": ["The planted-ticket is on fire!"]},
}
planted = {f"planted-{name}" for name in ("text", "topic", "note", "ticket", "job", "file", "message")}
with WorkerProcess() as worker:
    job = client.submit(
        "Summarise the parts of this planted-job and bring them together",
        inputs=[TaskInput(name="planted-file", text=text)], plan=True,
    )
    runs = [client.run_workflow(name, **inputs) for name, inputs in flows.items()]
    handles = [job, *runs]
    while (state := runs[1].state) != "waiting":
        assert state not in {"failed", "cancelled"}, worker.text()
        # Whoever only asks takes the time that the model needs.
        time.sleep(0.5)
    runs[1].approve("approval", by="ann")
    for handle in handles:
        handle.result(timeout=600)
    app.send_task("chore.echo", args=["planted-message"], queue="nobody-here")
    tasks = [task for handle in handles for task in client.task(handle.id).tree()["tasks"]]
    answers = {
        words for task in tasks for words in re.findall(r"[A-Za-z ,]{30,}", json.dumps(task["result"]))
    }
    found = dump(database, redis)
shown = {words for words in planted | answers if words.encode() in found}
print(json.dumps({
    "tasks": len(tasks), "all": sorted(planted | answers), "shown": sorted(shown),
    "ids": str(job.id).encode() in found,
}))
"""


def work(home: Path, script: Path, enabled: str) -> dict[str, Any]:
    environ = {
        **os.environ,
        "AI_AGENT_HOME": str(home),
        "AI_AGENT__SECURITY__ENCRYPTION__ENABLED": enabled,
    }
    try:
        done = subprocess.run(
            [sys.executable, str(script)], env=environ, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    finally:
        down = [sys.executable, "-m", "celery_app", "down"]
        subprocess.run(down, env=environ, check=True, capture_output=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_dumps_show_no_text_of_a_job_or_a_workflow(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = tmp_path / "work.py"
    script.write_text(WORK)
    clear = work(tmp_path_factory.mktemp("c"), script, "false")
    assert clear["shown"] == clear["all"]
    assert len(clear["all"]) > 15
    sealed = work(tmp_path_factory.mktemp("s"), script, "true")
    assert sealed["ids"]
    assert len(sealed["all"]) > 15
    assert sealed["shown"] == []
