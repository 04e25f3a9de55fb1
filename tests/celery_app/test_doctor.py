"""What `ai-agent doctor` finds wrong, and what it says to do; that a sound system has no fault is tested
with the console."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from celery_app.cli import doctor_servers


def test_a_foreign_package_under_our_name(tmp_path: Path) -> None:
    """As `pip install openai-agents` into the same environment leaves it."""
    information = tmp_path / "openai_agents-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: openai-agents\nVersion: 1.0\n"
    )
    (information / "top_level.txt").write_text("agents\n")
    environ = {
        **os.environ,
        "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{tmp_path}",
        "AI_AGENT_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "celery_app", "doctor", "--json"],
        env=environ, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    [found] = [one for one in json.loads(done.stdout) if one["level"] == "fail"]
    assert (found["subject"], found["fact"]) == (
        "names",
        "openai-agents installs a package `agents`",
    )
    assert "virtual environment" in found["advice"]


def test_ports_that_are_free_and_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AI_AGENT_HOME", str(tmp_path))
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
        monkeypatch.setattr(doctor_servers, "PORTS", {"Flower": port})
        [free] = doctor_servers.examine_ports()
        door.listen()
        [taken] = doctor_servers.examine_ports()
    assert (free.level, free.fact) == ("ok", f"{port} is free for Flower")
    assert (taken.level, taken.fact) == ("warn", f"{port} is taken by another program")
    assert "ai-agent up --help" in taken.advice


@pytest.mark.parametrize(
    ("text", "level"), [("13.4", "fail"), ("14.9 (Debian 14.9-1)", "ok"), ("18.0", "ok")]
)
def test_a_server_that_is_too_old(text: str, level: str) -> None:
    found = doctor_servers._version("postgres", "PostgreSQL", text, doctor_servers.OLDEST_POSTGRES)
    assert found.level == level
    assert found.exit_code == (2 if level == "fail" else 0)
