"""The images: what linters say of them, and what must hold of each."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deployment.composition import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def test_there_are_the_two_of_the_specification() -> None:
    assert [path.name for path in DOCKERFILES] == ["agent.Dockerfile", "orchestrator.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = subprocess.run([tool("hadolint"), path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("script", ["entry.sh", "make_secrets.sh"])
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    command = [tool("shellcheck"), str(ROOT / "docker" / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_the_last_stage_is_small_and_not_root(path: Path) -> None:
    told = instructions(path)
    stages = [number for number, (word, _) in enumerate(told) if word == "FROM"]
    last = told[stages[-1] :]
    assert len(stages) == 2
    assert ("USER", "$UID") in last
    assert ("ENTRYPOINT", '["entry.sh"]') in last
    assert not any("pip" in what for word, what in last if word == "RUN")
    installs = [what for word, what in told if word == "RUN" and "pip install" in what]
    assert installs
    assert any(word == "ENV" and "docker/constraints.txt" in what for word, what in told)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_it_copies_what_is_there_and_may_be_seen(path: Path) -> None:
    seen = (ROOT / ".dockerignore").read_text()
    for word, what in instructions(path):
        if word == "COPY" and "--from" not in what:
            for source in what.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in seen, source


def test_every_dependency_is_pinned() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "docker/constraints.txt").read_text().splitlines()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    named = {re.split(r"[\[<>=~!;]", line)[0].strip().lower() for line in lines}
    assert named - pinned == set()


def test_the_requirements_are_those_of_the_project() -> None:
    script = str(ROOT / "docker/requirements.py")
    command = [sys.executable, script, str(ROOT / "pyproject.toml"), "embedded"]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert printed == [*project["dependencies"], *project["optional-dependencies"]["embedded"]]
