"""The shipped workflow files on paper: sound, complete by their defaults, and written in one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agents.agent_manager import AgentManager
from workflows.definitions import dump, load
from workflows.rules import Registry
from workflows.workflow import Workflow

FILES = sorted((Path(__file__).parents[2] / "config/workflows").glob("*.yaml"))
ROSTER = AgentManager()
KNOWN = Registry(
    agents={profile.name for profile in ROSTER.profiles},
    capabilities={str(each) for each in ROSTER.capabilities},
    tasks={"chore.echo", "chore.sleep", "chore.fail"},
    workflows={path.stem for path in FILES},
)


def read(path: Path) -> Workflow:
    return load(path.read_text(), path.name, KNOWN)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_is_sound_and_starts_with_nothing_given(path: Path) -> None:
    workflow = read(path)
    assert workflow.name == path.stem
    assert workflow.description
    assert workflow.inputs_from({}).keys() == workflow.inputs.keys()
    for trigger in workflow.triggers:
        assert trigger.with_.keys() <= workflow.inputs.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_digest_stays_when_it_is_written_anew(path: Path) -> None:
    workflow = read(path)
    assert load(dump(workflow)).digest == workflow.digest


def test_digests_are_the_same_in_every_process() -> None:
    program = (
        "import sys; from pathlib import Path; from workflows.definitions import load\n"
        "for name in sys.argv[1:]: print(load(Path(name).read_text()).digest)"
    )
    for seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-c", program, *map(str, FILES)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        )
        assert said.stdout.split() == [read(path).digest for path in FILES]
