"""Who is compared: how each is installed and started, and what it keeps safe meanwhile.

Invariant: every version is pinned here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["OURS", "PEERS", "REFERENCE", "Peer"]

OURS, REFERENCE = "ours", "celery-redis"


@dataclass(frozen=True)
class Peer:
    """One side of the comparison.

    Attributes:
        title: Its name for readers.
        keeps: What would still be there if every process died and the broker forgot everything.
        module: The program that speaks for it, `benchmarks.field.MODULE`.
        needs: What is installed for it; nothing where this project's own environment has all.
        value: How its answer proves what ran: by ``flow`` of values along the graph, by flow with
            ``barriers`` between levels, or by the ``count`` of right results (and then by the order
            that its database tells).
        environment: What else it is told.
    """

    title: str
    keeps: str
    module: str
    value: Literal["flow", "barriers", "count"]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


_RAW = "raw_celery"

PEERS = {
    OURS: Peer(
        "this system",
        "graph, each state, each result, all sealed, in Postgres",
        "ours",
        value="count",
    ),
    REFERENCE: Peer(
        "Celery, Redis, written by hand",
        "nothing",
        _RAW,
        value="barriers",
        environment={"FIELD_STYLE": "hand", "FIELD_RESULTS": "redis"},
    ),
    "celery-canvas": Peer(
        "Celery, Redis, chains and chords",
        "nothing",
        _RAW,
        value="barriers",
        environment={"FIELD_STYLE": "canvas", "FIELD_RESULTS": "redis"},
    ),
    "celery-database": Peer(
        "Celery, stock database backend",
        "results in Postgres",
        _RAW,
        value="barriers",
        environment={"FIELD_STYLE": "canvas", "FIELD_RESULTS": "database"},
    ),
    "director": Peer(
        "celery-director (waits 0.5 s before it closes a workflow)",
        "states and results in Postgres",
        "director",
        value="barriers",
        needs=("celery-director==0.10.0", "celery==5.5.1"),
    ),
    "dramatiq": Peer(
        "Dramatiq",
        "nothing",
        "dramatiq_side",
        value="barriers",
        needs=("dramatiq[redis]==2.2.1",),
    ),
    "prefect": Peer(
        "Prefect",
        "states, in SQLite of its server",
        "prefect_side",
        value="flow",
        needs=("prefect==3.9.1",),
    ),
    "dbos": Peer(
        "DBOS, steps in process",
        "each step in Postgres",
        "dbos_side",
        value="flow",
        needs=("dbos==3.4.0",),
        environment={"FIELD_STYLE": "steps"},
    ),
    "dbos-queue": Peer(
        "DBOS, queued workflows",
        "each workflow and step in Postgres",
        "dbos_side",
        value="flow",
        needs=("dbos==3.4.0",),
        environment={"FIELD_STYLE": "queue"},
    ),
    "langgraph": Peer(
        "LangGraph, in process",
        "a checkpoint for each level in Postgres",
        "langgraph_side",
        value="flow",
        needs=(
            "langgraph==1.2.22",
            "langgraph-checkpoint-postgres==3.2.0",
            "psycopg[binary,pool]==3.3.2",
        ),
    ),
}
