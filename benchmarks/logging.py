"""What logging costs: the same small tasks on two systems side by side, one that logs and one that is silent.

    python -m benchmarks.logging [--tasks 100] [--rounds 80]

The one that logs writes Celery's lines and those of tasks as JSON, and keeps what tasks say in Postgres; the
silent one does nothing of that. Each has embedded servers and an ordinary worker of its own; they take turns,
round by round. The medians are compared: seconds by the clock, and those that the processors of
the worker were busy, which other programs on the machine disturb less.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import psutil
from celery import shared_task

from benchmarks.graphs import SLOTS, system
from benchmarks.kept import ROOT
from benchmarks.sides import Costs, compare, serve

if TYPE_CHECKING:
    from celery_app.client import Client

SILENT = {
    "AI_AGENT__MONITORING__LOGGING__LEVEL": "CRITICAL",
    "AI_AGENT__MONITORING__LOGGING__STORE": "{level: 'OFF', others: 'OFF'}",
}
SIDES: dict[str, dict[str, str]] = {"logging": {}, "silent": SILENT}
WORK = {"quiet": "chore.echo", "talking": "bench.say"}

MEASURES = ("by the clock", "of the processors")


@shared_task(name="bench.say")
def say(number: int) -> int:
    """Say one thing, and return what was given."""
    logging.getLogger("bench").info("number %s is done", number)
    return number


@contextmanager
def worker() -> Iterator[psutil.Process]:
    """Run an ordinary worker, as the settings say."""
    from celery_app.celery import app

    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", "threads"]
    process = subprocess.Popen(
        [*command, "-c", str(SLOTS)],
        cwd=ROOT,
        env={**os.environ, "AI_AGENT__IMPORTS": "[benchmarks.logging]", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not app.control.ping(timeout=1):
            if process.poll() is not None:
                sys.exit("a worker did not start")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(client: Client, at: psutil.Process, task: str, tasks: int) -> Costs:
    """Run tasks side by side as one graph; return what that took."""
    before, begun = at.cpu_times(), time.perf_counter()
    given = [{"task": task, "args": [number]} for number in range(tasks)]
    assert len(client.submit_graph(given).result(timeout=600)) == tasks
    taken, after = time.perf_counter() - begun, at.cpu_times()
    return taken, after.user + after.system - before.user - before.system


def serve_side(tasks: int) -> None:
    """Be one side."""
    with system() as client, worker() as at:
        serve(WORK, lambda kind: measure(client, at, WORK[kind], tasks))


@click.command()
@click.option("--tasks", default=100, show_default=True, help="Tasks in a round.")
@click.option("--rounds", default=80, show_default=True, help="Rounds of each side.")
@click.option("--serve", "is_side", is_flag=True, hidden=True)
def main(tasks: int, rounds: int, is_side: bool) -> None:
    """Print what a small task costs with logging and without, and the difference."""
    if is_side:
        serve_side(tasks)
        return
    module = "benchmarks.logging"
    for kind, compared in compare(module, SIDES, WORK, tasks=tasks, rounds=rounds):
        for what, loud, silent, more in zip(MEASURES, *compared, strict=True):
            print(
                f"{kind} tasks, {what}: {loud * 1000:.2f} ms with logging, "
                f"{silent * 1000:.2f} ms without: {more:+.1%} "
                f"(medians of {rounds} rounds of {tasks}, and of their ratios)"
            )


if __name__ == "__main__":
    main()
