"""What encryption costs: the same small tasks on two systems side by side, one sealed and one in clear.

    python -m benchmarks.encryption [--tasks 500] [--rounds 7]

Each side has embedded servers and an ordinary worker of its own; they take turns, round by round, so
that both meet the same machine. The medians are compared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import click

from benchmarks.graphs import system, worker

if TYPE_CHECKING:
    from celery_app.client import Client

SIDES = {"sealed": "true", "clear": "false"}
#: What each task is given and gives back.
TEXT = "word " * 200


def graph(client: Client, tasks: int) -> None:
    """Run tasks side by side as one graph, durable and fenced."""
    given = [{"task": "chore.echo", "args": [TEXT]} for _ in range(tasks)]
    assert len(client.submit_graph(given).result(timeout=300)) == tasks


def plain(_: Client, tasks: int) -> None:
    """Run ordinary Celery tasks, whose arguments travel in their messages."""
    from celery import group

    from celery_app.celery import app

    echo = app.signature("chore.echo", args=[TEXT])
    assert len(group(echo for _ in range(tasks)).apply_async().get(timeout=300)) == tasks


WORK = {"graph tasks": graph, "celery tasks": plain}


def serve(tasks: int) -> None:
    """Be one side: for each line that names a kind of work, do it and print its seconds."""
    with system() as client, worker():
        for work in WORK.values():
            work(client, tasks)
        print("ready", flush=True)
        for line in sys.stdin:
            begun = time.perf_counter()
            WORK[line.strip()](client, tasks)
            print(time.perf_counter() - begun, flush=True)


def start(enabled: str, tasks: int) -> subprocess.Popen[str]:
    """Start one side, and wait until it is warm."""
    side = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.encryption", "--serve", "--tasks", str(tasks)],
        env={**os.environ, "AI_AGENT__SECURITY__ENCRYPTION__ENABLED": enabled},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert side.stdout is not None
    while (line := side.stdout.readline()).strip() != "ready":
        if not line:
            sys.exit("a side did not start")
    return side


def ask(side: subprocess.Popen[str], work: str) -> float:
    """Let one side do a kind of work; return its seconds."""
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write(f"{work}\n")
    side.stdin.flush()
    return float(side.stdout.readline())


@click.command()
@click.option("--tasks", default=500, show_default=True, help="Tasks in a round.")
@click.option("--rounds", default=7, show_default=True, help="Rounds of each side.")
@click.option("--serve", "is_side", is_flag=True, hidden=True)
def main(tasks: int, rounds: int, is_side: bool) -> None:
    """Print what a small task costs, sealed and in clear, and the difference."""
    if is_side:
        serve(tasks)
        return
    sides = {name: start(enabled, tasks) for name, enabled in SIDES.items()}
    for work in WORK:
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                seconds[name].append(ask(side, work))
        sealed, clear = (
            statistics.median(seconds[name]) / tasks * 1000 for name in ("sealed", "clear")
        )
        print(
            f"{work}: {sealed:.2f} ms sealed, {clear:.2f} ms in clear: {sealed / clear - 1:+.1%} "
            f"(medians of {rounds} rounds of {tasks})"
        )
    for side in sides.values():
        side.communicate()


if __name__ == "__main__":
    main()
