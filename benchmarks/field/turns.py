"""The comparison itself: sides take turns, round by round, and every answer is looked at.

Invariants
  * A peer is measured beside us and the reference, in the same rounds, on the same servers; nobody
    else runs meanwhile.
  * A wrong answer is no figure: it ends that peer's part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.field.environments import python_of
from benchmarks.field.peers import OURS, PEERS, Peer
from benchmarks.field.workloads import WORKLOADS, Workload
from benchmarks.servers import Servers
from benchmarks.sides import Side, SideEnded

__all__ = ["ROOT", "Seconds", "take_turns"]

ROOT = Path(__file__).parents[2]

Seconds = dict[str, dict[str, list[float]]]
"""What each workload took each side, round by round."""


def take_turns(
    servers: Servers,
    names: Sequence[str],
    workloads: Sequence[str],
    *,
    rounds: int,
    scratch: Path,
    told: Callable[[], object],
) -> Seconds:
    """Measure some sides against each other; `told` is called after each answer.

    Raises:
        SideEnded: One of them ended, or answered wrongly.
    """
    seconds: Seconds = {workload: {name: [] for name in names} for workload in workloads}
    started: dict[str, Side] = {}
    try:
        for name in names:
            started[name] = start(servers, name, scratch)
        for turn in range(rounds):
            for workload in workloads:
                order = names if turn % 2 else tuple(reversed(names))
                for name in order:
                    seconds[workload][name].append(ask(name, started[name], workload))
                    told()
    finally:
        for side in started.values():
            side.end()
    return seconds


def ask(name: str, side: Side, workload: str) -> float:
    """Let a side run a workload; return the seconds. Raises SideEnded."""
    took, value = side.ask(workload)
    expected = expected_of(PEERS[name], WORKLOADS[workload])
    if value != expected:
        raise SideEnded(f"{name} answered {value:g} to {workload} where {expected} is right")
    return took


def expected_of(peer: Peer, workload: Workload) -> int:
    """Return what comes out of a workload, as this side tells it."""
    graph = workload.graph
    if peer.value == "count":
        return len(graph.seconds)
    return (graph.with_barriers() if peer.value == "barriers" else graph).value()


def start(servers: Servers, name: str, scratch: Path) -> Side:
    """Start a side with a broker, a database and a folder of its own. Raises SideEnded."""
    peer = PEERS[name]
    folder = servers.home / "sides" / name
    folder.mkdir(parents=True, exist_ok=True)
    broker = servers.broker_url(1 + list(PEERS).index(name))
    kept = servers.make_database(name.replace("-", "_")) if name != OURS else servers.database_url
    results = {"redis": broker, "database": f"db+{kept}"}
    environment = {
        **peer.environment,
        "AI_AGENT_HOME": str(servers.home),
        "FIELD_BROKER": broker,
        "FIELD_DATABASE": kept,
        "FIELD_FOLDER": str(folder),
        "FIELD_RESULTS": results.get(peer.environment.get("FIELD_RESULTS", ""), ""),
        "PYTHONPATH": str(ROOT),
    }
    python = python_of(name, peer.needs, scratch)
    return Side([str(python), "-m", f"benchmarks.field.{peer.module}"], environment)
