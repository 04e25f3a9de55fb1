"""Runs of workflows on the whole system: what a step costs alone, and with many runs at once.

    python -m benchmarks.workflows [--runs 500]

The servers are embedded ones of the measurement's own; the worker is an ordinary one (threads, 16).
"""

from __future__ import annotations

import statistics
import time

import click

from benchmarks.graphs import system, worker
from workflows.definitions import load

STEPS = 10


@click.command()
@click.option("--runs", default=500, show_default=True, help="Runs that are started at once.")
@click.option("--rounds", default=20, show_default=True, help="Runs one after the other.")
def main(runs: int, rounds: int) -> None:
    """Compare what a step costs in one run of ten steps and in many at once."""
    steps = [f"  - {{id: s{number}, task: chore.echo, args: [1]}}" for number in range(STEPS)]
    workflow = load("\n".join(["name: ten-steps", "steps:", *steps]))
    with system() as client, worker():
        client.start_workflow(workflow).result(timeout=60)
        alone = []
        for _ in range(rounds):
            begun = time.perf_counter()
            client.start_workflow(workflow).result(timeout=60)
            alone.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        started = [client.start_workflow(workflow) for _ in range(runs)]
        submitted = time.perf_counter() - begun
        for handle in started:
            handle.result(timeout=600)
        together = time.perf_counter() - begun
    one = statistics.median(alone) / STEPS
    many = together / runs / STEPS
    print(f"a step of one run:      {one * 1000:.2f} ms (median of {rounds} runs)")
    print(f"a step of {runs} at once: {many * 1000:.2f} ms, {many / one:.2f} times that")
    print(f"started in {submitted:.1f} s; all {runs} complete")


if __name__ == "__main__":
    main()
