"""Every block of README and docs is run, read or at least parsed; exceptions are listed with reasons."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest
import yaml
from celery.bin.base import CLIContext
from celery.bin.celery import celery as celery_command
from click.testing import CliRunner

from celery_app.celery import app
from celery_app.cli.main import cli
from celery_app.client import Client
from celery_app.handles import TaskHandle
from celery_app.settings import make_settings
from celery_app.sources import PREFIX, Source
from tests.house.documents import ROOT, SHELL, Block, Command, blocks, commands
from tests.house.readers import DATA, read
from tests.worker_process import WorkerProcess

BLOCKS = blocks()
COMMANDS = [command for block in BLOCKS if block.language in SHELL for command in commands(block)]

#: Shown only: outputs, pictures, and files of other programs.
SHOWN = {
    "",
    "text",
    "mermaid",
    "http",
    "html",
    "css",
    "javascript",
    "promql",
    "ini",
    "sql",
    "dockerfile",
}

#: Python that is only compiled: a piece of its text, and why.
NOT_RUN = {
    '{"id": ..., "task": "shop.tasks.render"': "abridged: the ids are left out",
    '{"id": ..., "description": "Sum up': "abridged: the ids are left out",
    "backend.open_chord(total.s(), [first_id": "needs a project's tasks; tests/backend runs it",
    "body = backend.open_chord(total.s())": "needs a project's tasks; tests/backend runs it",
    "project = Client().create_project(": "asks a model for minutes; tests/projects runs such a project",
    'client.documents.generate("garden"': "needs a project; tests/documents runs it",
    '(url="http://localhost:8000"': "asks an API on that port; tests/api runs it",
}

#: Programs that are not ours: their words are not checked.
FOREIGN = {
    "cd", "mkdir", "curl", "docker", "eval", "git", "jq", "openssl", "pip", "tar", "npx", "open", "echo",
    "caddy", "pytest", "uvicorn", "xdg-open", "sleep", "cat",
}  # fmt: skip

#: What is run here, besides being parsed. All else is parsed only: it starts or ends processes, changes
#: keys, asks a model for minutes, or steers a run that stands in a certain state; the commands' own
#: tests run it.
HARMLESS = {
    "audit show", "audit verify", "audit seal", "completion", "config show", "doctor", "keys list",
    "metrics", "policy actions", "policy check", "project budget", "status", "task events", "task list",
    "task show", "task submit", "task wait", "token list", "workflow graph", "workflow list",
    "workflow runs", "workflow schema", "workflow show", "workflow triggers", "workflow validate",
}  # fmt: skip

#: Words that stand for what the reader has, in commands that are run.
_ID = re.compile(r"ID|RUN")
_MADE_UP = re.compile(r"[0-9a-f]{4,}(…|\.{3})?|[A-Z]{2,}")


def of_languages(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_has_somebody_who_looks_at_it() -> None:
    unknown = {
        str(block) for block in BLOCKS if block.language not in {*SHOWN, *DATA, *SHELL, "python"}
    }
    assert unknown == set()
    assert len(BLOCKS) > 60


def test_no_exception_is_out_of_date() -> None:
    programs = [block.text for block in of_languages("python")]
    assert [piece for piece in NOT_RUN if not any(piece in text for text in programs)] == []
    known = set(paths(cli))
    assert {name for name in HARMLESS if name not in known} == set()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that documents name."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(ROOT / "config", folder / "config")
    for name in ("notes.md", "a.md", "b.md", "report.md", "mill.txt", "offer.md", "minutes.md"):
        (folder / name).write_text("The mill was built in 1782. It burnt down once.\n")
    (folder / "tickets.json").write_text('["It is broken."]')
    graph = [{"id": str(uuid4()), "task": "chore.echo", "args": [1]}]
    (folder / "graph.json").write_text(json.dumps(graph))
    for block in of_languages("yaml"):
        shown = yaml.safe_load(block.text)
        if "steps" in shown:
            (folder / f"{shown['name']}.yaml").write_text(block.text)
    for name in ("changed.yaml", "my-flow.yaml"):
        shutil.copy(folder / "config/workflows/triage.yaml", folder / name)
    return folder


# Data


@pytest.mark.parametrize("block", of_languages(*DATA), ids=str)
def test_data_is_read_by_its_reader(block: Block, tmp_path: Path) -> None:
    read(block.language, block.text, tmp_path)


# Python


@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", sorted({block.file for block in of_languages("python")}))
def test_python_runs(
    file: str, client: Client, worker: WorkerProcess, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    names: dict[str, Any] = {"__name__": "shown", "client": client, "job": finished(client)}
    try:
        for block in of_languages("python"):
            if block.file == file:
                program = compile(block.text, str(block), "exec")
                if not any(piece in block.text for piece in NOT_RUN):
                    exec(program, names)
    finally:
        # Some make an app of their own, which Celery takes for the current one.
        app.set_current()


def finished(client: Client) -> TaskHandle:
    job = client.submit_graph([{"id": str(uuid4()), "task": "chore.echo", "args": [1]}])
    job.result(timeout=60)
    return job


# Commands


def paths(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        path = f"{before} {name}".strip()
        yield path
        if isinstance(command, click.Group):
            yield from paths(command, path)


def parsed(
    command: click.Command, words: tuple[str, ...], parent: click.Context | None = None
) -> str:
    """Have click read a command line without running it; return the path of the command."""
    name = command.name if parent else "ai-agent"
    context = command.make_context(name, list(words), parent=parent)
    if command is celery_command:
        context.obj = CLIContext(app=app, no_color=True, workdir=None)
    if not isinstance(command, click.Group):
        return context.command_path.removeprefix("ai-agent ")
    rest = [*context._protected_args, *context.args]
    if not rest and command.invoke_without_command:
        return context.command_path.removeprefix("ai-agent ")
    assert rest, f"{context.command_path} needs a command"
    _, inner, rest = command.resolve_command(context, rest)
    assert inner is not None
    return parsed(inner, tuple(rest), context)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_commands_are_understood(
    command: Command, client: Client, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    check_variables(dict(command.variables))
    check_words(command.words)


def check_words(words: tuple[str, ...]) -> None:
    if not words:
        return
    program, *rest = words
    if program == "ai-agent":
        parsed(cli, tuple(rest))
    elif program == "celery":
        parsed(celery_command, tuple("celery_app" if word == "shop" else word for word in rest))
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
    elif program in ("python", "python3"):
        assert rest[0] != "-m" or importlib.util.find_spec(rest[1]) is not None
    elif program == "export":
        check_variables(dict(word.split("=", 1) for word in rest))
    elif program == "cp":
        assert all((ROOT / word).exists() for word in rest[:-1] if not word.startswith(("/", "-")))
    else:
        assert program in FOREIGN, f"nobody knows {program}: add it to FOREIGN"
        if "ai-agent" in rest:
            check_words(tuple(rest[rest.index("ai-agent") :]))


def check_variables(variables: Mapping[str, str]) -> None:
    ours = {name: value for name, value in variables.items() if name.startswith(PREFIX)}
    source = Source()
    source.override(ours)
    make_settings(source, ROOT)


def harmless() -> list[tuple[str, ...]]:
    found: dict[tuple[str, ...], None] = {}
    known = set(paths(cli))
    for command in COMMANDS:
        words = command.words
        if words[:1] == ("ai-agent",) and not command.variables:
            path = next((p for n in (3, 2, 1) if (p := " ".join(words[1 : n + 1])) in known), None)
            if path in HARMLESS and "--follow" not in words and not made_up(words):
                found[words[1:]] = None
    return list(found)


def made_up(words: tuple[str, ...]) -> bool:
    return any(_MADE_UP.fullmatch(word) and not _ID.fullmatch(word) for word in words)


@pytest.fixture(scope="module")
def standing(client: Client, worker: WorkerProcess) -> dict[str, str]:
    """A task and a run that are over; and projects with a budget."""
    run = client.start_workflow(ROOT / "tests/house/two_steps.yaml")
    run.result(timeout=60)
    for project in ("garden", "market-watch"):
        CliRunner().invoke(cli, ["project", "budget", project, "--tokens", "1000000"])
    return {"ID": str(finished(client).id), "RUN": str(run.id)}


@pytest.mark.parametrize("words", harmless(), ids=" ".join)
def test_what_harms_nobody_is_run(
    words: tuple[str, ...],
    standing: dict[str, str],
    client: Client,
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(desk)
    result = CliRunner().invoke(cli, [standing.get(word, word) for word in words])
    assert result.exit_code == 0, result.output
    if words[:2] == ("task", "submit"):
        text = json.loads(result.stdout)["id"] if "--json" in words else result.stdout.strip()
        handle = client.task(text)
        if str(handle.state) not in ("succeeded", "failed"):
            handle.cancel()
