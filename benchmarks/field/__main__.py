"""This system beside others: same graphs, same servers, turn by turn.

    python -m benchmarks.field [--only PEER]... [--workload NAME]... [--rounds 5] [--full | --small]

Each peer is installed into a scratch environment of its own, and measured in turns with this system and
with the reference (Celery on Redis, written by hand). The figures are kept in build/bench/field.json.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks.field.environments import SCRATCH, python_of
from benchmarks.field.figures import table_of
from benchmarks.field.peers import OURS, PEERS, REFERENCE
from benchmarks.field.turns import take_turns
from benchmarks.field.workloads import CORE, FULL, SMALL, WORKLOADS
from benchmarks.kept import FOLDER, keep
from benchmarks.servers import Servers, scratch_servers
from benchmarks.sides import SideEnded

_PEER = click.Choice(list(PEERS))
_FOLDER = click.Path(path_type=Path)


@click.command(help=__doc__)
@click.option("--only", multiple=True, type=_PEER, help="Whom to measure; by default everybody.")
@click.option("--workload", multiple=True, type=click.Choice(list(WORKLOADS)), help="What to run.")
@click.option("--rounds", default=5, show_default=True, help="Turns of each side.")
@click.option("--full", is_flag=True, help="Longer tasks and a fan-out of 1000 as well.")
@click.option("--small", is_flag=True, help="Small graphs, to see that everything works.")
@click.option("--scratch", default=SCRATCH, type=_FOLDER, help="Where peers are installed.")
@click.option("--into", default=FOLDER, type=_FOLDER, help="Where the figures are kept.")
def main(
    only: tuple[str, ...],
    workload: tuple[str, ...],
    rounds: int,
    full: bool,
    small: bool,
    scratch: Path,
    into: Path,
) -> None:
    workloads = workload or (SMALL if small else FULL if full else CORE)
    others = [one for one in (only or PEERS) if one not in {OURS, REFERENCE}]
    absent = dict(_install(others, scratch))
    parts: list[dict[str, Any]] = []
    with scratch_servers() as servers:
        for other in [one for one in others if one not in absent] or [OURS]:
            part = _measure(servers, other, workloads, rounds, scratch)
            if "failed" in part:
                absent[other] = part["failed"]
            else:
                parts.append(part)
            # Whoever breaks off keeps what there is.
            path = keep("field", {"rounds": rounds, "parts": parts, "absent": absent}, into)
    Console(width=200).print(table_of(parts, rounds))
    for other, why in absent.items():
        click.echo(f"{other} is not in it: {why}")
    click.echo(f"all figures: {path}")
    if not parts:
        raise SystemExit(1)


def _install(names: Sequence[str], scratch: Path) -> Iterator[tuple[str, str]]:
    """Install the peers; yield those that cannot be installed, with the reason."""
    for name in names:
        try:
            python_of(PEERS[name], scratch)
        except subprocess.CalledProcessError as error:
            yield name, f"it could not be installed: {error.cmd[0]} ended with {error.returncode}"


def _measure(
    servers: Servers, other: str, workloads: Sequence[str], rounds: int, scratch: Path
) -> dict[str, Any]:
    """Measure a peer beside us and the reference; or say why it failed."""
    names = tuple(dict.fromkeys((REFERENCE, OURS, other)))
    with Progress(console=Console(stderr=True)) as progress:
        line = progress.add_task(PEERS[other].title, total=rounds * len(workloads) * len(names))
        try:
            turns = take_turns(
                servers,
                names,
                workloads,
                rounds=rounds,
                scratch=scratch,
                told=lambda: progress.advance(line),
            )
        except SideEnded as error:
            return {"peer": other, "failed": str(error)}
    return {"peer": other, "needs": PEERS[other].needs, "turns": turns}


if __name__ == "__main__":
    main()
