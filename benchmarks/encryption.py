"""What encryption costs: the same small tasks on two systems side by side, one sealed and one in clear.

    python -m benchmarks.encryption [--tasks 100] [--rounds 80]

Each side has embedded servers and an ordinary worker of its own; they take turns, round by round, so
that both meet the same machine.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from benchmarks.graphs import system, worker
from benchmarks.sides import Costs, compare, serve

if TYPE_CHECKING:
    from celery_app.client import Client

SIDES = {
    "sealed": {"AI_AGENT__SECURITY__ENCRYPTION__ENABLED": "true"},
    "clear": {"AI_AGENT__SECURITY__ENCRYPTION__ENABLED": "false"},
}
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


def serve_side(tasks: int) -> None:
    """Be one side."""
    with system() as client, worker():

        def work(kind: str) -> Costs:
            begun = time.perf_counter()
            WORK[kind](client, tasks)
            return (time.perf_counter() - begun,)

        serve(WORK, work)


@click.command()
@click.option("--tasks", default=100, show_default=True, help="Tasks in a round.")
@click.option("--rounds", default=80, show_default=True, help="Rounds of each side.")
@click.option("--serve", "is_side", is_flag=True, hidden=True)
def main(tasks: int, rounds: int, is_side: bool) -> None:
    """Print what a small task costs, sealed and in clear, and the difference."""
    if is_side:
        serve_side(tasks)
        return
    module = "benchmarks.encryption"
    for kind, ((sealed,), (clear,), (more,)) in compare(
        module, SIDES, WORK, tasks=tasks, rounds=rounds
    ):
        print(
            f"{kind}: {sealed * 1000:.2f} ms sealed, {clear * 1000:.2f} ms in clear: {more:+.1%} "
            f"(medians of {rounds} rounds of {tasks}, and of their ratios)"
        )


if __name__ == "__main__":
    main()
