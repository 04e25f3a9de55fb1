"""What is read out of the turns: medians, spreads, and each side's share of the reference's speed.

Invariant: a ratio is the median of the ratios of the same rounds, never a ratio of medians.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks.field.peers import OURS, PEERS, REFERENCE
from benchmarks.field.workloads import SLOTS, WORKLOADS

__all__ = ["Figure", "bound_of", "figures_of", "table_of"]


@dataclass(frozen=True)
class Figure:
    """What one workload took one side.

    Attributes:
        seconds: The median.
        low: The least.
        high: The most.
        processors: Milliseconds of processors for a task, over all processes and servers.
        reference: How many times as long as the reference took in the same round.
        ours: How many times as long as this system took in the same round.
    """

    seconds: float
    low: float
    high: float
    processors: float
    reference: float
    ours: float


def figures_of(parts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Figure]]:
    """Return the figures by workload and side; each part is of one peer, with us and the reference."""
    found: dict[str, dict[str, Figure]] = {}
    for side in PEERS:
        for workload in _workloads(parts):
            turns = list(_turns(parts, workload, side))
            if turns:
                found.setdefault(workload, {})[side] = _figure(workload, turns)
    return found


def _workloads(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    named = {workload for part in parts for workload in part["turns"]}
    return [workload for workload in WORKLOADS if workload in named]


def _turns(
    parts: Sequence[Mapping[str, Any]], workload: str, side: str
) -> Iterator[tuple[Sequence[float], float, float]]:
    """Yield a side's turns with what the reference and we took in the same round."""
    for part in parts:
        sides = part["turns"].get(workload, {})
        if side in sides:
            rounds = zip(sides[side], sides[REFERENCE], sides[OURS], strict=True)
            yield from ((turn, reference[0], ours[0]) for turn, reference, ours in rounds)


def _figure(workload: str, turns: Sequence[tuple[Sequence[float], float, float]]) -> Figure:
    seconds = [turn[0] for turn, _, _ in turns]
    tasks = len(WORKLOADS[workload].graph.seconds) * WORKLOADS[workload].repeats
    return Figure(
        seconds=statistics.median(seconds),
        low=min(seconds),
        high=max(seconds),
        processors=statistics.median(turn[1] for turn, _, _ in turns) / tasks * 1000,
        reference=statistics.median(turn[0] / reference for turn, reference, _ in turns),
        ours=statistics.median(turn[0] / ours for turn, _, ours in turns),
    )


def bound_of(workload: str) -> float:
    """Return the seconds that no schedule of this kind can beat; 0 where tasks do nothing."""
    graph = WORKLOADS[workload].graph
    return max(graph.critical_path(), graph.greedy_schedule(SLOTS))


def table_of(parts: Sequence[Mapping[str, Any]], rounds: int) -> Table:
    """Return all of it as a table for a terminal."""
    found = figures_of(parts)
    table = Table(
        title=f"Medians of {rounds} turns; in brackets: times the reference's; ms: CPU a task"
    )
    table.add_column("")
    for workload in found:
        table.add_column(workload, justify="right")
    for side, peer in PEERS.items():
        cells = [_cell(found[workload].get(side)) for workload in found]
        if any(cells):
            table.add_row(f"{peer.title}\n[dim]keeps {peer.keeps}[/dim]", *cells)
    return table


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return (
        f"{figure.seconds:.3g} s (x{figure.reference:.2f})\n[dim]{figure.processors:.1f} ms[/dim]"
    )
