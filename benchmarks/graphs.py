"""Task graphs on the whole system: how near to the best schedule they run, and what a task costs.

    python -m benchmarks.graphs makespan [--seeds 20] [--kill]
    python -m benchmarks.graphs scale

The servers are embedded ones of the measurement's own; workers are ordinary ones (threads, 16). The figures
of `makespan` are kept in build/bench/makespan.json, unless workers were killed.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click
import redis
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.kept import FOLDER, ROOT, keep
from benchmarks.shapes import Graph, lane_graph, layered_graph, random_graph, stretched
from benchmarks.waiting import wait_for_words

if TYPE_CHECKING:
    from celery_app.client import Client

SLOTS = 16
#: By how much tasks are stretched, and how long they take then. A short call of a model takes a second.
SCALES = {1: "50 to 500 ms", 4: "0.2 to 2 s"}
#: Graphs whose tasks take 50 to 500 ms.
KINDS: dict[str, Callable[[random.Random], Graph]] = {
    "random graphs": random_graph,
    "uneven lanes": lane_graph,
}


@contextmanager
def system() -> Iterator[Client]:
    """Start embedded servers of our own; give a client of them."""
    home = Path(tempfile.mkdtemp(prefix="agent-bench-"))
    os.environ["AI_AGENT_HOME"] = str(home)
    # Death is noticed within seconds, so that a measurement with a kill ends.
    os.environ["AI_AGENT__LEASES__SECONDS"] = "3"
    os.environ["AI_AGENT__LEASES__RENEW_SECONDS"] = "1"
    os.environ["AI_AGENT__RECOVERY__INTERVAL"] = "1"
    os.environ["AI_AGENT__RECOVERY__GRACE"] = "2"
    from celery_app.client import Client
    from celery_app.stack.profile import embedded_stack

    try:
        yield Client()
    finally:
        from celery_app.celery import app

        app.backend.result_consumer.stop()
        embedded_stack().stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def worker(environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run an ordinary worker, with these variables beside those of this process."""
    command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-P", "threads"]
    command += ["-c", str(SLOTS), "-n", f"{uuid4().hex[:6]}@bench", "--loglevel", "INFO"]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for_words(process, Path(log.name), " ready.")
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()


def run(client: Client, graph: Graph) -> float:
    """Run a graph; return the seconds from submitting it to having its result."""
    tasks = graph.tasks()
    begun = time.perf_counter()
    result = client.submit_graph(tasks).result(timeout=600)
    elapsed = time.perf_counter() - begun
    assert len(result) == len(tasks)
    return elapsed


def run_with_a_kill(client: Client, graph: Graph, chance: random.Random) -> tuple[float, int]:
    """Run a graph on two workers, kill one in the middle; return seconds and events too many."""
    tasks = graph.tasks()
    with ExitStack() as stack:
        doomed, _ = (stack.enter_context(worker()) for _ in range(2))
        begun = time.perf_counter()
        handle = client.submit_graph(tasks)
        moment = chance.uniform(0.2, 0.8) * graph.greedy_schedule(2 * SLOTS)
        killer = threading.Timer(moment, os.killpg, (doomed.pid, signal.SIGKILL))
        killer.start()
        result = handle.result(timeout=600)
        elapsed = time.perf_counter() - begun
        killer.join()
        doomed.wait()
    assert len(result) == len(tasks)
    recorded = [event["task_id"] for event in handle.events() if event["kind"] == "succeeded"]
    return elapsed, len(recorded) - len(set(recorded))


def message_sizes(client: Client, graph: Graph) -> list[int]:
    """Run a graph and return the size of every message that goes to the broker for it, in bytes."""
    from celery_app.celery import settings

    sizes: list[int] = []
    path = settings.broker_url.removeprefix("redis+socket://").split("?")[0]
    with redis.Redis(unix_socket_path=path) as broker, broker.monitor() as monitor:
        ended = threading.Event()

        def listen() -> None:
            for command in monitor.listen():
                words = command["command"].split(" ", 2)
                if (
                    words[0] == "LPUSH"
                    and "_kombu" not in words[1]
                    and "task.collect" not in words[2]
                ):
                    sizes.append(len(words[2]))
                if ended.is_set():
                    return

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        run(client, graph)
        ended.set()
        broker.ping()
        listener.join(timeout=5)
    return sizes


@click.group()
def main() -> None:
    """Measure task graphs on the whole system."""


@main.command()
@click.option(
    "--seeds", default=20, show_default=True, help="Graphs of each kind; a quarter with long tasks."
)
@click.option("--kill", is_flag=True, help="Kill a worker in the middle of each.")
@click.option(
    "--into", default=FOLDER, type=click.Path(path_type=Path), help="Where they are kept."
)
def makespan(seeds: int, kill: bool, into: Path) -> None:
    """Compare the time that graphs take with the best that 16 slots could do."""
    rows: list[dict[str, float | str]] = []
    with system() as client:
        for (factor, length), (shape, make) in itertools.product(SCALES.items(), KINDS.items()):
            name = f"{shape}, {length}"
            chances = map(random.Random, range(max(1, seeds // factor)))
            graphs = [stretched(make(chance), factor) for chance in chances]
            took = killed_runs(client, name, graphs) if kill else runs(client, name, graphs)
            rows.append({"kind": name, **_beside_bounds(graphs, took)})
    table = Table(*rows[0], title="Makespan against max(critical path, greedy schedule)")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row.values()))
    Console(width=120).print(table)
    if not kill:
        click.echo(f"all figures: {keep('makespan', {'rows': rows}, into)}")


def runs(client: Client, name: str, graphs: Sequence[Graph]) -> list[float]:
    """Run graphs one after the other on one worker; return their seconds."""
    with worker():
        run(client, layered_graph(4, SLOTS))
        return [run(client, graph) for graph in track(graphs, name)]


def killed_runs(client: Client, name: str, graphs: Sequence[Graph]) -> list[float]:
    """Run graphs on two workers of which one is killed; say how many ends were recorded twice."""
    done = [
        run_with_a_kill(client, graph, random.Random(seed))
        for seed, graph in enumerate(track(graphs, name))
    ]
    print(f"{name}: all complete; recorded twice: {sum(doubled for _, doubled in done)}")
    return [seconds for seconds, _ in done]


def _beside_bounds(graphs: Sequence[Graph], took: Sequence[float]) -> dict[str, float | str]:
    ratios = [seconds / bound(graph) for seconds, graph in zip(took, graphs, strict=True)]
    return {
        "graphs": str(len(graphs)),
        "tasks": str(sum(len(graph.seconds) for graph in graphs)),
        "bound, s": round(sum(map(bound, graphs)), 1),
        "measured, s": round(sum(took), 1),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "with barriers": statistics.median(g.barriers(SLOTS) / bound(g) for g in graphs),
    }


def bound(graph: Graph) -> float:
    """Return what no schedule of this kind can beat."""
    return max(graph.critical_path(), graph.greedy_schedule(SLOTS))


@main.command()
@click.option("--rounds", default=5, show_default=True, help="Runs of the small graph.")
def scale(rounds: int) -> None:
    """Compare what a task costs in a graph of 100 and in one of 10,000."""
    small, large = layered_graph(10, 10), layered_graph(100, 100)
    with system() as client, worker():
        run(client, small)
        costs = [run(client, small) / 100 for _ in range(rounds)]
        whole = run(client, large) / 10_000
        costs += [run(client, small) / 100 for _ in range(rounds)]
        each = statistics.median(costs)
        print(f"one task of 100:    {each * 1000:.2f} ms (median of {2 * rounds} runs)")
        print(f"one task of 10,000: {whole * 1000:.2f} ms, {whole / each:.2f} times that")
        for graph in (small, large):
            sizes = message_sizes(client, graph)
            print(
                f"{len(sizes)} messages for {len(graph.seconds)} tasks: "
                f"{min(sizes)} to {max(sizes)} bytes, median {statistics.median(sizes):.0f}"
            )


if __name__ == "__main__":
    main()
