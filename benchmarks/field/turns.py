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
from benchmarks.kept import ROOT
from benchmarks.servers import Servers, processor_seconds
from benchmarks.sides import Side, SideEnded

__all__ = ["Turns", "take_turns"]

Turns = dict[str, dict[str, list[tuple[float, float]]]]
"""What each workload took each side, round by round: seconds, and seconds of processors."""


def take_turns(
    servers: Servers,
    names: Sequence[str],
    workloads: Sequence[str],
    *,
    rounds: int,
    scratch: Path,
    told: Callable[[], object],
) -> Turns:
    """Measure some sides against each other; `told` is called after each answer.

    Raises:
        SideEnded: One of them ended, or answered wrongly.
    """
    found: Turns = {workload: {name: [] for name in names} for workload in workloads}
    started: dict[str, Side] = {}
    try:
        for name in names:
            started[name] = _start(servers, name, scratch)
        for turn in range(rounds):
            order = names if turn % 2 else tuple(reversed(names))
            for workload in workloads:
                for name in order:
                    found[workload][name].append(_ask(servers, name, started[name], workload))
                    told()
    finally:
        for side in started.values():
            side.end()
    return found


def _ask(servers: Servers, name: str, side: Side, workload: str) -> tuple[float, float]:
    pids = (side.pid, servers.postgres.pid, servers.valkey.pid)
    before = processor_seconds(*pids)
    took, value = side.ask(workload)
    used = processor_seconds(*pids) - before
    expected = _expected(PEERS[name], WORKLOADS[workload])
    if value != expected:
        raise SideEnded(f"{name} answered {value:g} to {workload} where {expected} is right")
    return took, used


def _expected(peer: Peer, workload: Workload) -> int:
    graph = workload.graph
    if peer.value == "count":
        return len(graph.seconds)
    return (graph.with_barriers() if peer.value == "barriers" else graph).value()


def _start(servers: Servers, name: str, scratch: Path) -> Side:
    """Start a side with a broker, a database and a folder of its own. Raises SideEnded."""
    peer = PEERS[name]
    folder = servers.home / "sides" / name
    folder.mkdir(parents=True, exist_ok=True)
    broker = servers.broker_url(1 + list(PEERS).index(name))
    own = name.replace("-", "_")
    database = servers.database_url if name == OURS else servers.make_database(own)
    results = {"redis": broker, "database": f"db+{database}"}
    environment = {
        **peer.environment,
        "AI_AGENT_HOME": str(servers.home),
        "FIELD_BROKER": broker,
        "FIELD_DATABASE": database,
        "FIELD_FOLDER": str(folder),
        "FIELD_RESULTS": results.get(peer.environment.get("FIELD_RESULTS", ""), ""),
        "PYTHONPATH": str(ROOT),
    }
    python = python_of(peer, scratch)
    return Side([str(python), "-m", f"benchmarks.field.{peer.module}"], environment)
