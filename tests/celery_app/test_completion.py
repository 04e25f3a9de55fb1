"""Completion as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from celery_app.cli.main import cli

BASH = "/bin/bash"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_our_command(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_AI_AGENT_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ai-agent work", {"worker", "workflow"}),
        ("ai-agent task submit --prio", {"--priority"}),
        ("ai-agent run --priority cr", {"critical"}),
        ("ai-agent completion f", {"fish"}),
    ],
)
def test_the_command_completes(words: str, found: set[str]) -> None:
    environ = {
        **os.environ,
        "_AI_AGENT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = Path(sys.executable).with_name("ai-agent")
    told = subprocess.run(
        [program], env=environ, capture_output=True, text=True, check=False
    ).stdout
    assert {line.split(",")[1] for line in told.splitlines()} == found


def test_bash_takes_the_script() -> None:
    script = CliRunner().invoke(cli, ["completion", "bash"]).stdout
    line = f"{script}\ncomplete -p ai-agent"
    told = subprocess.run([BASH, "-c", line], capture_output=True, text=True, check=True)
    assert "_ai_agent_completion" in told.stdout
