"""`ai-agent init`: the new folder works as its README and the command's help say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from celery_app.cli.main import cli
from celery_app.stack.home import Home
from celery_app.stack.profile import current_settings

MADE = [
    ".gitignore", "README.md", "config/agents.yaml", "config/system.yaml",
    "config/workflows/digest.yaml", "tasks.py", "tests/digest.agenttest.yaml",
]  # fmt: skip


class Garden:
    """A folder that was made by `ai-agent init`, and commands that are run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        # Nothing of the session's: this folder has servers of its own.
        self._environ = {"PATH": path, "HOME": str(folder.parent), "PYTHONUTF8": "1"}

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            ["ai-agent", *arguments],
            cwd=self.folder if self.folder.exists() else self.folder.parent,
            env=self._environ, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def garden() -> Iterator[Garden]:
    home = Path(tempfile.mkdtemp(prefix="ai-init-", dir="/tmp"))
    garden = Garden(home / "garden")
    garden.run("init", "garden")
    yield garden
    garden.run("down")
    shutil.rmtree(home)


def test_it_has_one_of_everything_and_says_so(garden: Garden, tmp_path: Path) -> None:
    files = (path for path in garden.folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(garden.folder)) for path in files}
    assert {name for name in found if not name.startswith(".ai-agent/")} == set(MADE)
    result = CliRunner().invoke(cli, ["init", str(tmp_path / "other"), "--json"])
    assert sorted(json.loads(result.stdout)) == [str(tmp_path / "other" / name) for name in MADE]


def test_nothing_is_written_over(garden: Garden) -> None:
    before = (garden.folder / "README.md").read_bytes()
    (garden.folder / "tasks.py").touch()
    done = CliRunner().invoke(cli, ["init", str(garden.folder)], standalone_mode=False)
    assert "is there already" in str(done.exception)
    assert (garden.folder / "README.md").read_bytes() == before


def test_its_files_are_sound(garden: Garden) -> None:
    assert ".ai-agent under" in garden.run("config", "check")
    assert garden.run("workflow", "validate") == "1 file is well\n"
    shown = json.loads(garden.run("config", "show", "--json"))
    assert shown["imports"] == ["tasks"]
    assert shown["agents_file"] == str(garden.folder / "config/agents.yaml")
    assert shown["security"]["encryption"]["key_path"] == str(garden.folder / ".ai-agent/keys")


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ("imports: [shop.tasks]", ["shop.tasks"]),
        ("imports: [shop.tasks]\ncomponents: {}", []),
        ("# nothing", []),
    ],
)
def test_which_file_holds_for_the_embedded_servers(
    text: str, imports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/system.yaml").write_text(text)
    (tmp_path / ".ai-agent").mkdir()
    assert current_settings({"AI_AGENT_HOME": str(tmp_path / "home")}).imports == imports
    named = {"AI_AGENT_HOME": str(tmp_path / "home"), "AI_AGENT__IMPORTS": "[mine]"}
    assert current_settings(named).imports == ["mine"]


@pytest.mark.parametrize("owner", [None, 4711])
def test_a_folder_that_nobody_made_for_this_user_is_not_followed(
    owner: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/system.yaml").write_text("imports: [somebody.elses]")
    if owner is not None:
        (tmp_path / ".ai-agent").mkdir()
        monkeypatch.setattr("os.geteuid", lambda: owner)
    assert current_settings({}).imports == []
    assert Home.of({}).path == Path("~/.ai-agent").expanduser()


@pytest.mark.model
@pytest.mark.timeout(400)
def test_every_command_of_its_readme_works(garden: Garden) -> None:
    text = (garden.folder / "README.md").read_text()
    lines = re.findall(r"^ai-agent (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert lines == ["workflow run digest", "task list", "down"]
    outputs = json.loads(garden.run(*lines[0].split()))
    assert re.fullmatch(r"- .+\n- .+", outputs["digest"])
    assert "digest" in garden.run(*lines[1].split())
    levels = {
        found["subject"]: found["level"] for found in json.loads(garden.run("doctor", "--json"))
    }
    assert levels["worker"] == levels["models"] == levels["bus"] == levels["postgres"] == "ok"
    garden.run(*lines[2].split())


@pytest.mark.skipif("test" not in cli.commands, reason="this build has no `ai-agent test`")
def test_its_suite_passes(garden: Garden) -> None:
    garden.run("test", "tests/digest.agenttest.yaml")
