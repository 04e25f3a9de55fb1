"""The console command where it needs no server: its words, its arguments, its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import celery_app
from celery_app.cli import options
from celery_app.cli.graph_file import read_graph
from celery_app.cli.main import Door, cli
from celery_app.cli.plan_table import print_plan
from celery_app.cli.progress import LinesDisplay
from celery_app.cli.record import Record
from celery_app.cli.screen import MOST_DRAWN, line_of, one_line, seconds_of, timed, tree_of
from celery_app.cli.supervisor import Child, Supervisor
from celery_app.errors import ConfigurationError, PermissionDenied, ServiceUnavailable, TaskFailed
from celery_app.stack.home import Home
from workflows.errors import InvalidTask
from workflows.state import TaskState
from workflows.task import Priority


def invoke(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=environ)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


# Words


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_help_teaches_with_an_example(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "ai-agent" in result.output.split("Example", maxsplit=1)[1]


def test_version() -> None:
    assert invoke("--version").output == f"ai-agent {celery_app.__version__}\n"


def test_help_imports_nothing_of_the_system() -> None:
    heavy = "{'celery', 'pydantic', 'rich', 'sqlalchemy', 'psutil', 'workflows'}"
    program = f"import sys, celery_app.cli.main; print({heavy} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert printed.stdout.strip() == b"set()"


def test_choices_are_those_of_the_system() -> None:
    assert set(options.PRIORITIES) == {str(priority) for priority in Priority}
    assert set(options.STATES) == {str(state) for state in TaskState}


# The door


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        (TaskFailed("it broke"), 1, "error: it broke\n"),
        (ConfigurationError("no such\nkey"), 2, "error: no such key\n"),
        (PermissionDenied("not you"), 3, "error: not you\n"),
        (ServiceUnavailable("gone"), 4, "error: gone\n"),
        (click.BadParameter("bad"), 2, "error: Invalid value: bad (see `cli go --help`)\n"),
    ],
)
def test_an_error_is_one_line_and_a_code(error: Exception, exit_code: int, words: str) -> None:
    result = through_the_door(error)
    assert (result.exit_code, result.stderr) == (exit_code, words)


def test_an_unexpected_error_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AI_AGENT_DEBUG", raising=False)
    result = through_the_door(RuntimeError("what"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "RuntimeError: what" in result.stderr
    assert "--debug" in result.stderr
    monkeypatch.setenv("AI_AGENT_DEBUG", "1")
    assert "Traceback" in through_the_door(RuntimeError("what")).stderr


def test_an_interrupt_is_130() -> None:
    assert through_the_door(KeyboardInterrupt()).exit_code == 130


def through_the_door(error: BaseException) -> Result:
    @click.group("cli", cls=Door)
    def group() -> None:
        """Do nothing."""

    @group.command()
    @click.pass_context
    def go(ctx: click.Context) -> None:
        if isinstance(error, click.UsageError):
            error.ctx = ctx
        raise error

    return CliRunner().invoke(group, ["go"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing-like-it"],
        ["run"],
        ["run", "job", "--deadline", "yesterday"],
        ["run", "job", "--deadline", "2030-01-01T00:00:00"],
        ["run", "job", "--timeout", "nan"],
        ["run", "job", "--timeout", "0"],
        ["run", "job", "--priority", "urgent"],
        ["task", "submit"],
        ["task", "submit", "words", "--task", "chore.echo"],
        ["task", "submit", "words", "--arg", "1"],
        ["task", "submit", "--task", "chore.echo", "--arg", "{"],
        ["task", "submit", "--task", "chore.echo", "--kwarg", "value"],
        ["task", "submit", "--task", "chore.echo", "--graph", "graph.json"],
        ["task", "submit", "words", "--output", "{"],
        ["task", "submit", "words", "--output", "5"],
        ["task", "submit", "words", "--output", "@no-such-file"],
        ["task", "submit", "--graph", "graph.json", "--output", "{}"],
        ["run", "job", "--output", '{"type": "strin"}'],
        ["task", "list", "--state", "lost"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_one_line(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


# Arguments


@given(st.integers(1, 10**6), st.sampled_from("smhd"))
def test_durations_and_moments_agree(number: int, unit: str) -> None:
    seconds = options.SECONDS.convert(f"{number}{unit}", None, None)
    assert seconds == number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    moment = options.MOMENT.convert(f"{number}{unit}", None, None)
    assert abs(moment - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_are_read_as_written(moment: datetime) -> None:
    assert options.MOMENT.convert(moment.isoformat(), None, None) == moment


@given(st.text())
def test_nothing_else_is_a_moment(text: str) -> None:
    try:
        assert options.MOMENT.convert(text, None, None).tzinfo is not None
    except click.BadParameter as error:
        assert "2030-01-31" in error.message or "time zone" in error.message


def test_a_schema_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "string"}')
    assert options.SCHEMA.convert(f"@{file}", None, None) == {"type": "string"}
    with pytest.raises(click.BadParameter, match="there is no type 'strin': did you mean 'string'"):
        options.SCHEMA.convert('{"type": "strin"}', None, None)


# Graph files


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("g.json", '[\n  {"id": 1},\n  {"id" 2}\n]', "g.json:3:9: this is not JSON"),
        ("g.yaml", "- id: 1\n  x: [\n", "g.yaml:3: this is not YAML"),
        ("g.json", "{}", "a list of tasks is expected, and this is dict"),
        ("g.json", "[]", "a list of tasks is expected"),
        ("g.json", '[{"id": 1}, "two"]', "tasks[1] is 'two'"),
    ],
)
def test_a_faulty_graph_file_names_the_place(
    tmp_path: Path, name: str, text: str, place: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidTask) as caught:
        read_graph(tmp_path / name)
    assert place in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_graph_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match=r"nowhere\.json cannot be read"):
        read_graph(tmp_path / "nowhere.json")


# Settings


def test_config_check_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "system.yaml").write_text("system:\n  nmae: x\n")
    result = invoke("--config", str(tmp_path), "config", "check")
    assert result.exit_code == 2
    assert "system.yaml:2" in result.stderr


def test_config_show_hides_passwords_and_knows_overrides(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret")
    (tmp_path / "system.yaml").write_text("components:\n  database:\n    password_file: password\n")
    result = invoke(
        "--config", str(tmp_path), "config", "show", "--json",
        AI_AGENT__WORKER__CONCURRENCY="3",
    )  # fmt: skip
    assert "s3cret" not in result.output
    assert json.loads(result.stdout)["worker"]["concurrency"] == 3


@pytest.fixture(autouse=True)
def _own_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # `--config` sets it for the process; undone after each test.
    monkeypatch.setenv("CONFIG_PATH", "")
    monkeypatch.setenv("AI_AGENT_HOME", str(tmp_path / "home"))


# The screen


def document(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{number:08d}-0000-4000-8000-000000000000", "parent_id": None, "type": "general",
        "description": f"task {number}", "metadata": {}, "state": "pending", "agent": None,
        "dependencies": [], "attempts": 0, "result": None, "error": None,
        "tokens": {"prompt": 0, "generated": 0}, "started_at": None, "finished_at": None,
        "tasks": [], **fields,
    }  # fmt: skip


@given(st.text(), st.integers(2, 80))
def test_no_text_writes_to_the_terminal_by_itself(text: str, width: int) -> None:
    shown = one_line(text, width)
    assert len(shown) <= width
    assert shown.isprintable()


def test_a_task_on_one_line() -> None:
    error = {"type": "ValueError", "message": "no\x1b[2Jgood"}
    line = line_of(
        document(
            state="failed", agent="writer", error=error, attempts=2,
            tokens={"prompt": 120, "generated": 45},
            started_at="2026-01-01T00:00:00+00:00", finished_at="2026-01-01T00:00:03.25+00:00",
        )
    )  # fmt: skip
    assert line == (
        "failed     00000000  writer  3.2 s  165 tokens  attempt 2  task 0  (no [2Jgood)"
    )


def test_a_wide_tree_draws_what_matters_and_counts_the_rest() -> None:
    root = document()
    states = ["succeeded"] * 50 + ["failed", "running"]
    root["tasks"] = [
        document(number, parent_id=root["id"], state=state, metadata={"title": f"step {number}"})
        for number, state in enumerate(states, start=1)
    ]
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(tree_of(root))
    text = console.export_text()
    assert "step 51  failed" in text
    assert "step 52  running" in text
    assert f"… and {len(states) - MOST_DRAWN} succeeded" in text


def test_a_parent_starts_with_its_first_subtask() -> None:
    early, late = "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:05.5+00:00"
    root = document(started_at=late, finished_at="2026-01-01T00:00:06+00:00")
    middle = document(1, parent_id=root["id"])
    below = document(2, parent_id=middle["id"], started_at=early)
    shown = timed({**root, "tasks": [middle, below]})
    assert seconds_of(shown) == 6
    assert [task["started_at"] for task in shown["tasks"]] == [early, early]


def test_lines_tell_each_change_once() -> None:
    said: list[str] = []
    display = LinesDisplay(said.append)
    child = document(1, parent_id=document()["id"])
    for root_state, child_state in [
        ("running", "pending"), ("expanded", "queued"), ("expanded", "queued"),
        ("expanded", "succeeded"), ("succeeded", "succeeded"),
    ]:  # fmt: skip
        display.show(document(state=root_state, tasks=[{**child, "state": child_state}]))
    assert [line.split()[0] for line in said] == [
        "running", "expanded", "queued", "succeeded", "succeeded",
    ]  # fmt: skip


def test_a_plan_and_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(
        {
            "source": "model", "tries": 2, "tokens": {"prompt": 1, "generated": 1},
            "steps": [
                {"title": "Read", "agent": "researcher", "needs": [], "input_names": ["a.md"]},
                {"title": "Write", "agent": "writer", "needs": [1], "input_names": []},
            ],
            "price": {"calls": 2, "tokens": 900, "seconds": 12.4, "critical_seconds": 12.4},
        }
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "1\tRead\tresearcher\t-\ta.md" in printed
    assert "2\tWrite\twriter\t1\t-" in printed
    assert "plan by model in 2 tries; about 2 calls, 900 tokens, 12 s of work" in printed


# The process tree


def supervise(script: str, on_line: Callable[[str, str], None]) -> list[str]:
    said: list[str] = []

    def say(name: str, line: str) -> None:
        said.append(f"{name}: {line}")
        on_line(name, line)

    Supervisor([Child("child", [sys.executable, "-c", script])], say).run()
    return said


def test_a_child_that_ends_is_started_again() -> None:
    lives: list[str] = []

    def on_line(name: str, line: str) -> None:
        if name == "child":
            lives.append(line)
            if len(lives) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    said = supervise("import os; print(os.getpid()); raise SystemExit(3)", on_line)
    assert len(set(lives)) == 2
    assert "up: child ended (exit 3); starting it again in 1 s" in said


def test_a_second_signal_ends_at_once_what_will_not_go() -> None:
    def on_line(name: str, line: str) -> None:
        if line in {"ready", "no"}:
            os.kill(os.getpid(), signal.SIGINT)

    stubborn = (
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    said = supervise(stubborn, on_line)
    assert said[:2] == ["child: ready", "up: SIGINT: stopping; once more to stop at once"]


def test_one_up_a_home(tmp_path: Path) -> None:
    record = Record(Home(tmp_path / "home"))
    with record.held(detached=True):
        standing = record.read()
        assert standing is not None
        assert standing.supervisor is not None
        assert standing.supervisor.pid == os.getpid()
        with (
            pytest.raises(ConfigurationError, match="`ai-agent down` ends it"),
            record.held(detached=False),
        ):
            pytest.fail("two at once")
    assert record.read() is None


def test_a_process_that_only_has_the_same_id_is_not_ours(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    (home.path / "run" / "up.json").write_text(
        json.dumps({"detached": True, "supervisor": [os.getpid(), 5.0], "children": {}})
    )
    assert Record(home).read() is None
