"""What grows: the cost of a task in ever larger graphs, and of looking at ever longer histories.

    python -m benchmarks.growth [--largest 50000] [--history 100000]

Every task is run, by one ordinary worker (threads, 16), on embedded servers of the measurement's own.
The figures are kept in build/bench/growth.json.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.graphs import system, worker
from benchmarks.kept import FOLDER, keep
from benchmarks.servers import processor_seconds
from benchmarks.shapes import Graph, fan_graph, layered_graph

if TYPE_CHECKING:
    from celery_app.client import Client

SIZES = (100, 1_000, 10_000, 50_000)
HISTORIES = (1_000, 10_000, 100_000)
WIDTH = 100
LOOKS = 15

Row = dict[str, float]


def graph_of(size: int) -> Graph:
    """Return a layered graph of so many tasks."""
    width = min(WIDTH, size // 10)
    return layered_graph(size // width, width)


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds that a call takes."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def often(call: Callable[[], Any]) -> float:
    """Return the median of what a call takes, in milliseconds."""
    return statistics.median(timed(call) for _ in range(LOOKS))


def bytes_kept() -> int:
    """Return the size of the whole database."""
    from celery_app.celery import database

    return int(database.row("SELECT pg_database_size(current_database()) AS size").size)


def used(process: psutil.Process) -> float:
    """Return the seconds of processors that worker, servers and this program have used."""
    from celery_app.stack.profile import embedded_stack

    stack = [server.pid for server in embedded_stack().servers if server.name != "model"]
    return processor_seconds(process.pid, *stack) + sum(psutil.Process().cpu_times()[:2])


def one_graph(client: Client, process: psutil.Process, size: int) -> Row:
    """Run one graph of a size; return what it took, for a task."""
    tasks = graph_of(size).tasks()
    before, idle = bytes_kept(), used(process)
    begun = time.perf_counter()
    handle = client.submit_graph(tasks)
    submitted = time.perf_counter() - begun
    result = handle.result(timeout=3600)
    ended = time.perf_counter() - begun
    busy = used(process) - idle
    assert len(result) == size
    assert sum(result.values()) == sum(task["args"][0] for task in tasks)
    return {
        "tasks": size,
        "submit ms a task": submitted / size * 1000,
        "whole ms a task": ended / size * 1000,
        "CPU ms a task": busy / size * 1000,
        "status ms": often(lambda: handle.state),
        "result ms": timed(lambda: handle.result(timeout=60)),
        "list ms": often(functools.partial(listed, client)),
        "bytes a task": (bytes_kept() - before) / size,
        "worker MiB": process.memory_info().rss / 2**20,
    }


def listed(client: Client, state: str | None = None) -> None:
    """List the newest tasks, as `task list` does."""
    from celery_app.orchestrator.task_manager import TaskManager

    TaskManager(permissions=client.permissions).newest(20, state)


def one_task(client: Client) -> Any:
    """Hand in one task that does nothing; return its handle."""
    return client.submit_graph([{"id": str(uuid4()), "task": "chore.echo", "args": [1]}])


def history(client: Client, process: psutil.Process, size: int) -> Row:
    """Run graphs until so many tasks stand in the history; return what looking at it takes."""
    from celery_app.celery import database

    before, had = bytes_kept(), int(database.row("SELECT count(*) AS n FROM task").n)
    begun, now = time.perf_counter(), had
    while now < size:
        handle = client.submit_graph(fan_graph(WIDTH - 3).tasks())
        handle.result(timeout=600)
        now += WIDTH
    took = time.perf_counter() - begun
    ended = one_task(client)
    ended.result(timeout=60)
    return {
        "tasks": now,
        "run ms a task": took / max(1, now - had) * 1000,
        "submit ms": often(lambda: one_task(client)),
        "one task ms": often(lambda: one_task(client).result(timeout=60)),
        "status ms": often(lambda: ended.state),
        "list ms": often(functools.partial(listed, client)),
        "list failed ms": often(functools.partial(listed, client, "failed")),
        "tree of 100 ms": often(handle.tree) if now > had else 0.0,
        "bytes a task": (bytes_kept() - before) / max(1, now - had),
        "worker MiB": process.memory_info().rss / 2**20,
    }


def table_of(title: str, rows: list[Row]) -> Table:
    """Return the figures as a table for a terminal."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *(f"{value:,.0f}" if value >= 100 else f"{value:.2f}" for value in row.values())
        )
    return table


@click.command(help=__doc__)
@click.option("--largest", default=SIZES[-1], show_default=True, help="Tasks of the largest graph.")
@click.option("--history", "longest", default=HISTORIES[-1], show_default=True, help="Tasks in it.")
@click.option("--into", default=FOLDER, type=click.Path(path_type=Path), help="Where to keep it.")
def main(largest: int, longest: int, into: Path) -> None:
    with system() as client, worker() as started:
        process = psutil.Process(started.pid)
        client.submit_graph(graph_of(100).tasks()).result(timeout=60)
        histories = [history(client, process, size) for size in HISTORIES if size <= longest]
        # The small ones come both first and last, so that age and size are not taken for each other.
        sizes = (*(size for size in SIZES if size <= largest), SIZES[0])
        graphs = [one_graph(client, process, size) for size in sizes]
    path = keep("growth", {"graphs": graphs, "histories": histories}, into)
    for title, rows in (("One graph", graphs), ("History", histories)):
        if rows:
            Console(width=200).print(table_of(title, rows))
    click.echo(f"all figures: {path}")


if __name__ == "__main__":
    main()
