"""Files in YAML: those that are shipped, hurt in every way, and those that no parser should follow."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import agents
import celery_app
from agents.agent_manager import AgentManager
from celery_app.cli.graph_file import read_graph
from celery_app.settings import make_settings
from celery_app.sources import Source
from tests.fuzz.doors import fuzzed, taken, texts
from workflows.definitions import dump, load
from workflows.errors import AgentSystemError
from workflows.workflow import Workflow

CONFIG = Path(celery_app.__path__[0]).parent / "config"
WORKFLOWS = [path.read_text() for path in sorted((CONFIG / "workflows").glob("*.yaml"))]
SETTINGS = (CONFIG / "system.yaml").read_text()
ROSTER = (Path(agents.__path__[0]) / "roster.yaml").read_text()
SCRATCH = Path(tempfile.mkdtemp(prefix="fuzz-"))
GRAPH = "- {id: 0190c0de-0000-7000-8000-000000000001, description: x, dependencies: []}\n"

LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)

TRAPS = {
    "billion laughs": LAUGHS,
    "laughs by merging": LAUGHS + "<<: *a8\n",
    "an alias of itself": "a: &x [*x]",
    "a key that is itself": "&x a: *x",
    "deep": "[" * 20_000,
    "deep and closed": "a: " + "[" * 2000 + "]" * 2000,
    "deep by indents": "".join(" " * n + "a:\n" for n in range(600)),
    "long": "a: 1\n" * 50_000,
    "many values": "a: [" + "1," * 60_000 + "]",
    "a long key": "k" * 2000 + ": 1",
    "a Python object": "a: !!python/object/apply:os.system [true]",
    "an unknown tag": "a: !secret x",
    "a tag that does not fit": "a: !!int x\nb: !!timestamp x\nc: !!binary '###'\nd: !!set {a}",
    "a key twice": "name: a\nname: b\n",
    "merge keys": "a: &x {b: 1}\nc: {<<: *x}\n",
    "keys that are no words": "? [a]\n: 1\n? {b: c}\n: 2\n",
    "no alias": "a: *x",
    "two documents": "a: 1\n---\nb: 2",
    "control characters": "a: \x01",
    "NUL": 'name: "\\0"',
    "half a pair": 'name: "\\ud800"',
    "NUL in a key": '"\\0": 1',
    "a date that is none": "a: 2026-99-99",
    "a number without end": "a: " + "9" * 5000,
    "beyond all floats": "a: 1.0e+400",
    "colons": "a: 1" + ":59" * 400,
    "tabs": "a:\n\t- b",
    "a byte order mark": "\ufeffname: a",
    "empty": "",
    "a number": "5",
}


def settings(text: str) -> Any:
    return make_settings(Source.parse(text, "system.yaml"), Path("/nowhere"))


def graph(text: str) -> Any:
    path = SCRATCH / "graph.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_graph(path)


DOORS: dict[str, Callable[[str], Any]] = {
    "workflow": load,
    "settings": settings,
    "roster": AgentManager.from_yaml,
    "graph": graph,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_in_words(door: str, trap: str) -> None:
    given = taken(lambda: DOORS[door](TRAPS[trap]))
    assert given is None or (door, trap) == ("settings", "empty")


def hurt(text: str, seed: int, words: str) -> str:
    """Return the text after a few random wounds."""
    chance = random.Random(seed)
    lines = text.split("\n")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        line = lines[place]
        at = chance.randrange(len(line) + 1)
        wound = chance.choice(["cut", "twice", "swap", "indent", "insert", "value", "drop"])
        match wound:
            case "cut":
                lines[place] = line[:at]
            case "twice":
                lines.insert(place, line)
            case "swap":
                other = chance.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case "indent":
                lines[place] = "  " + line
            case "insert":
                lines[place] = line[:at] + words + line[at:]
            case "value":
                lines[place] = line.partition(":")[0] + ": " + words
            case _:
                lines[place] = line.replace(chance.choice(":-[]{}\"'|"), "", 1)
    return "\n".join(lines)


yaml_bits = texts | st.sampled_from(
    ["[]", "{}", "[[]]", "~", "true", "-1", ".inf", "1e3", "&x", "*x", "!!str", "|", ">", "- -",
     "{{ steps.a.output }}", "{{ 1 +", "0 0 31 2 *", "99999d", "~nobody/x", "[a, a]", "{a: {b: c}}"],
)  # fmt: skip


@fuzzed
@given(st.sampled_from(WORKFLOWS), st.integers(), yaml_bits)
def test_a_hurt_workflow_is_read_as_it_stands_or_refused(text: str, seed: int, bit: str) -> None:
    workflow = taken(lambda: load(hurt(text, seed, bit)))
    if isinstance(workflow, Workflow):
        assert load(dump(workflow)) == workflow


@fuzzed
@given(st.sampled_from([SETTINGS, SETTINGS.replace("# ", "")]), st.integers(), yaml_bits)
@example("components: {database: {password_file: ~nobody-at-all/x}}", 3, "")
@example('components: {database: {password_file: "a\\0b"}}', 3, "")
@example(f"resources: {{memory: {{total_limit: {'9' * 400}Gi}}}}", 3, "")
def test_hurt_settings_are_read_or_refused(text: str, seed: int, bit: str) -> None:
    taken(lambda: settings(text))
    taken(lambda: settings(hurt(text, seed, bit)))


@fuzzed
@given(st.integers(), yaml_bits)
def test_a_hurt_roster_is_read_or_refused(seed: int, bit: str) -> None:
    taken(lambda: AgentManager.from_yaml(hurt(ROSTER, seed, bit)))


@fuzzed
@given(texts | st.integers(0, 10**6).map(lambda seed: hurt(GRAPH, seed, "[")))
def test_any_text_is_a_file_or_refused(text: str) -> None:
    for door in DOORS.values():
        taken(lambda door=door: door(text))  # type: ignore[misc]


@fuzzed
@given(st.binary(max_size=200))
@example(b"\xff\xfea\0")
@example(b"\xef\xbb\xbfname: a")
def test_any_bytes_are_a_file_or_refused(content: bytes) -> None:
    path = SCRATCH / "file.yaml"
    path.write_bytes(content)
    taken(lambda: Source.read(path))
    taken(lambda: AgentManager.from_yaml(path))
    taken(lambda: read_graph(path))


@pytest.mark.parametrize("path", [Path("/dev/zero"), Path("/"), Path("/nowhere"), Path("a\0b")])
@pytest.mark.parametrize("door", [Source.read, AgentManager.from_yaml, read_graph])
def test_what_is_no_text_file_is_refused(door: Callable[[Path], Any], path: Path) -> None:
    with pytest.raises(AgentSystemError, match=r"give a readable file|the most that is read"):
        door(path)


@fuzzed
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@example("[")
@example("!!python/name:os")
def test_any_value_of_a_variable_is_read_or_refused(value: str) -> None:
    def door() -> None:
        source = Source.parse("", "system.yaml")
        source.override({"AI_AGENT__SYSTEM__NAME": value, f"AI_AGENT__{value[:20]}": "1"})

    taken(door)
