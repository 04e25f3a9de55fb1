"""Our result backend beside Celery's own two: same broker, same worker, same tasks, one run.

    python -m benchmarks.backend [--rounds 7]

Every round measures each backend once, in an order drawn by chance, with a client process of its own.
Each backend has a worker of its own (prefork, two processes) on its own queue of the same broker;
the workers that are not measured are idle. PostgreSQL and Valkey run on unix sockets with their
daily settings: a commit is on disk before it is acknowledged; Valkey keeps an append-only file.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.servers import Servers, scratch_servers
from benchmarks.waiting import wait_for_words
from celery_app.postgres.connection import Database
from celery_app.postgres.migrate import migrate

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "build" / "bench" / "backend.json"
OURS, DATABASE, REDIS = "agentpg", "db+postgresql", "redis"

#: Each figure with its unit. For seconds and megabytes less is better, for the others more.
FIGURES = {
    "push p50": "ms",
    "push p95": "ms",
    "delay().get() p50": "ms",
    "delay().get() p95": "ms",
    "chord of 10": "ms",
    "chord of 100": "ms",
    "chord of 1000": "ms",
    "body after last part (10)": "ms",
    "body after last part (100)": "ms",
    "body after last part (1000)": "ms",
    "group of 1000": "tasks/s",
    "chain of three chords": "ms",
    "chord of ten chords": "ms",
    "worker CPU": "s",
    "worker memory": "MB",
    "client memory": "MB",
}


def measure() -> dict[str, float]:
    """Measure the backend that the environment names, from a fresh client."""
    from celery import chain, chord, group

    from benchmarks.plain import app, latest, nap, nothing, stamp, wait_since

    def timed(call: Callable[[], Any]) -> tuple[float, Any]:
        begun = time.perf_counter()
        value = call()
        return (time.perf_counter() - begun) * 1000, value

    def percentile(values: list[float], share: float) -> float:
        return sorted(values)[min(len(values) - 1, int(len(values) * share))]

    found: dict[str, float] = {}
    for _ in range(3):
        nothing.delay().get(timeout=60)
    pushes = [(nap.delay(0.05).get(timeout=60), time.time()) for _ in range(20)]
    waits = [(now - end) * 1000 for end, now in pushes]
    found["push p50"], found["push p95"] = statistics.median(waits), percentile(waits, 0.95)
    trips = [timed(lambda: nothing.delay().get(timeout=60))[0] for _ in range(40)]
    found["delay().get() p50"] = statistics.median(trips)
    found["delay().get() p95"] = percentile(trips, 0.95)

    def run_chord(size: int) -> float:
        canvas = chord([stamp.s() for _ in range(size)], wait_since.s())
        waited: float = canvas.apply_async().get(timeout=180)
        return waited

    for size, times in ((10, 5), (100, 2), (1000, 1)):
        runs = [timed(partial(run_chord, size)) for _ in range(times)]
        found[f"chord of {size}"] = statistics.median(total for total, _ in runs)
        found[f"body after last part ({size})"] = statistics.median(w * 1000 for _, w in runs)
    total, _ = timed(lambda: group(nothing.s() for _ in range(1000)).apply_async().get(timeout=180))
    found["group of 1000"] = 1000 / (total / 1000)
    ten = [stamp.s() for _ in range(10)]
    three = chain(chord(ten, latest.s()), chord(ten, latest.s()), chord(ten, latest.s()))
    found["chain of three chords"], _ = timed(lambda: three.apply_async().get(timeout=180))
    inner = [chord([stamp.s() for _ in range(3)], latest.s()) for _ in range(10)]
    found["chord of ten chords"], _ = timed(
        lambda: chord(inner, latest.s()).apply_async().get(timeout=180)
    )
    found["client memory"] = psutil.Process().memory_full_info().uss / 1e6
    app.close()
    return found


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """Run a worker for one backend."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.plain", "worker"]
    command += ["-P", "prefork", "-c", "2", "-n", f"{environment['BENCH_NAME']}@bench"]
    command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for_words(process, log, " ready.")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and those it has started."""
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """Tell the processor time that a worker has used."""
    return sum(sum(one.cpu_times()[:2]) for one in family(process))


def memory(process: psutil.Process) -> float:
    """Tell the megabytes that a worker shares with nobody."""
    return sum(float(one.memory_full_info().uss) for one in family(process)) / 1e6


def environments(servers: Servers) -> dict[str, dict[str, str]]:
    """Return what worker and client of each backend are told."""
    results = {
        OURS: f"agentpg+{servers.database_url}",
        DATABASE: f"db+{servers.database_url}",
        # Its results beside the broker's messages, as stock Celery projects have it.
        REDIS: servers.broker_url(1),
    }
    return {
        name: {
            **os.environ,
            "BENCH_NAME": name,
            "BENCH_BROKER": servers.broker_url(0),
            "BENCH_BACKEND": backend,
        }
        for name, backend in results.items()
    }


def run(rounds: int, only: tuple[str, ...]) -> dict[str, list[dict[str, float]]]:
    """Measure every backend `rounds` times; return its figures, round by round."""
    found: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        servers = stack.enter_context(scratch_servers())
        migrate(Database(servers.database_url))
        told = {name: env for name, env in environments(servers).items() if name in only}
        workers = {
            name: stack.enter_context(
                worker(environment, servers.home / f"{name.replace('+', '-')}.log")
            )
            for name, environment in told.items()
        }
        orders = [random.sample(list(told), len(told)) for _ in range(rounds)]
        for name in track([name for order in orders for name in order], "measuring"):
            before = cpu_seconds(workers[name])
            client = [sys.executable, "-m", "benchmarks.backend", "--measure"]
            answer = subprocess.run(
                client, cwd=ROOT, env=told[name], check=True, stdout=subprocess.PIPE, text=True
            )
            figures = json.loads(answer.stdout)
            figures["worker CPU"] = cpu_seconds(workers[name]) - before
            figures["worker memory"] = memory(workers[name])
            found.setdefault(name, []).append(figures)
    return found


def print_table(found: dict[str, list[dict[str, float]]]) -> None:
    """Print the medians, and how many times better ours is than each other."""
    rounds = len(next(iter(found.values())))
    table = Table(title=f"Result backends: medians of {rounds} interleaved rounds")
    table.add_column("")
    others = [name for name in (DATABASE, REDIS) if name in found]
    for name in (*others, OURS):
        table.add_column(name, justify="right")
    for name in others:
        table.add_column(f"ours against {name}", justify="right")
    for figure, unit in FIGURES.items():
        medians = {
            name: statistics.median(one[figure] for one in rows) for name, rows in found.items()
        }
        cells = [f"{medians[name]:.4g} {unit}" for name in (*others, OURS)]
        for name in others:
            ratio = medians[name] / medians[OURS]
            cells.append(f"{(1 / ratio if unit == 'tasks/s' else ratio):.2f}x")
        table.add_row(figure, *cells)
    Console(width=130).print(table)


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Rounds to take the median of.")
@click.option("--only", multiple=True, default=(OURS, DATABASE, REDIS), help="Backends to measure.")
@click.option("--measure", "measuring", is_flag=True, hidden=True)
def main(rounds: int, only: tuple[str, ...], measuring: bool) -> None:
    """Measure our result backend beside Celery's own two."""
    if measuring:
        print(json.dumps(measure()))
        return
    found = run(rounds, only)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(found, indent=1))
    print_table(found)
    print(f"all figures: {REPORT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
