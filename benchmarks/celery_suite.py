"""Celery's own integration tests for canvases and tasks, on a result backend of your choice.

The tests come from the source distribution of the Celery that is installed; nothing of it is kept
here. About a third of them run only where the backend's name begins with "redis", although they use
Redis as a scratch pad alone; a module of that name lets every backend take them.

    python -m benchmarks.celery_suite                   print all columns there are
    python -m benchmarks.celery_suite start postgres    run one column in the background
    python -m benchmarks.celery_suite run postgres      run it here (about 20 minutes)
    python -m benchmarks.celery_suite run postgres --short    a selection (about a minute)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.servers import Servers, scratch_servers
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate

ROOT = Path(__file__).parents[1]
SCRATCH = ROOT / "build" / "celery-suite"
FILES = ("test_canvas.py", "test_tasks.py", "test_group_chains.py")

#: One or two tests of every kind of canvas, for every change.
SHORT = " or ".join(
    (
        "test_complex_chain",
        "test_chain_of_chords",
        "test_nested_group_chain",
        "test_group_chord_group_chain",
        "test_chord_header_task_replaced_with_chain",
        "test_error_propagates_from_chord",
        "test_header_failure_fails_the_chords_after_it",
        "test_chain_to_a_chord_with_large_header",
        "test_add_to_chord",
        "(test_generator and 3)",
        "test_ignoring_result_no_subscriptions",
    )
)

#: What Celery is told for each column, given the servers and Valkey's port.
BACKENDS: dict[str, Callable[[Servers, int], str]] = {
    "postgres": lambda servers, port: f"redis_names:PostgresBackend+{servers.database_url}",
    "redis": lambda servers, port: f"redis://127.0.0.1:{port}/0",
    "database": lambda servers, port: f"redis_names:DatabaseBackend+{servers.database_url}",
}
REDIS_NAMES = """\
from celery.backends.database import DatabaseBackend
from celery_app.postgres.backend import PostgresBackend
"""


@dataclass
class Column:
    """What one run of the suite came to."""

    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, outcome: str) -> int:
        """Tell how many tests ended so."""
        return sum(found == outcome for found in self.outcomes.values())

    @classmethod
    def read(cls, path: Path) -> Column:
        """Read pytest's report. A test with failed subtests is one failed test."""
        column = cls()
        for case in ET.parse(path).getroot().iter("testcase"):
            name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
            outcome = "passed"
            for verdict in case:
                if verdict.tag in {"failure", "error"}:
                    outcome = "failed"
                elif verdict.tag == "skipped":
                    outcome = "xfailed" if verdict.get("type") == "pytest.xfail" else "skipped"
            if column.outcomes.get(name) != "failed":
                column.outcomes[name] = outcome
            column.seconds += float(case.get("time", 0))
        return column


def sources() -> Path:
    """Fetch the tests of the installed Celery, once; return the folder that holds `t`."""
    name = f"celery-{version('celery')}"
    folder = SCRATCH / name
    if not (folder / "t").exists():
        SCRATCH.mkdir(parents=True, exist_ok=True)
        fetch = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "celery"]
        subprocess.run(
            [sys.executable, *fetch, "--dest", str(SCRATCH), name.replace("-", "==")], check=True
        )
        with tarfile.open(SCRATCH / f"{name}.tar.gz") as archive:
            # Not its celery folder, which would be imported instead of the installed one.
            wanted = [
                member
                for member in archive.getmembers()
                if member.name.startswith(f"{name}/t/") or member.name == f"{name}/pyproject.toml"
            ]
            archive.extractall(SCRATCH, members=wanted, filter="data")
    (folder / "redis_names.py").write_text(REDIS_NAMES)
    return folder


def run_column(backend: str, selection: str | None = None) -> int:
    """Run the suite on one backend, leaving its report in the scratch folder."""
    folder = sources()
    with scratch_servers() as servers:
        port = servers.open_port()
        if backend == "postgres":
            migrate(Database(servers.database_url))
        environment = {
            **os.environ,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(port),
            "WORKER_LOGLEVEL": "INFO",
            "TEST_BROKER": f"redis://127.0.0.1:{port}/0",
            "TEST_BACKEND": BACKENDS[backend](servers, port),
            "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
        }
        report = SCRATCH / f"{backend}.xml.new"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "celery.contrib.pytest",
            "--timeout=300",
            "--tb=native",
        ]
        command += ["-o", "cache_dir=.cache", *(f"t/integration/{name}" for name in FILES)]
        command += ["-q", "-k", selection] if selection else ["-v", "-ra", f"--junitxml={report}"]
        code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if selection is None and report.exists():
        report.rename(report.with_suffix(""))
    return code


def print_columns() -> None:
    """Print what every finished run came to, and what failed where Redis passes."""
    console = Console()
    columns = {
        name: Column.read(path) for name in BACKENDS if (path := SCRATCH / f"{name}.xml").exists()
    }
    if not columns:
        console.print("no run yet: make celery-suite BACKEND=postgres (or redis, database)")
        return
    table = Table(title=f"Celery {version('celery')}: {', '.join(FILES)}")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for outcome in ("passed", "failed", "skipped", "xfailed"):
        table.add_row(outcome, *(str(column.count(outcome)) for column in columns.values()))
    table.add_row("minutes", *(f"{column.seconds / 60:.1f}" for column in columns.values()))
    console.print(table)
    for name, column in columns.items():
        failed = [test for test, outcome in column.outcomes.items() if outcome == "failed"]
        console.print(f"\n{name} fails:" if failed else f"\n{name} fails nothing")
        for test in sorted(failed):
            there = columns["redis"].outcomes.get(test, "") if "redis" in columns else ""
            console.print(f"  {test}" + (f"   (redis: {there})" if there else ""), highlight=False)


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Celery's own integration tests, on a result backend of your choice."""
    if context.invoked_subcommand is None:
        print_columns()


@main.command()
@click.argument("backend", type=click.Choice(list(BACKENDS)))
def start(backend: str) -> None:
    """Run one column in the background, and print the columns there are."""
    sources()
    log = SCRATCH / f"{backend}.log"
    with log.open("w") as output:
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.celery_suite", "run", backend],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    print(f"running since {time.strftime('%H:%M')}, about 20 minutes; its words: {log}")
    print_columns()


@main.command()
@click.argument("backend", type=click.Choice(list(BACKENDS)))
@click.option("-k", "selection", help="Run a selection only (pytest's -k), keeping no report.")
@click.option("--short", is_flag=True, help="Run the selection that every change must pass.")
def run(backend: str, selection: str | None, short: bool) -> None:
    """Run one column here."""
    sys.exit(run_column(backend, SHORT if short else selection))


if __name__ == "__main__":
    main()
