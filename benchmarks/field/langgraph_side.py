"""LangGraph: a graph of state, compiled once, whose checkpoints go to Postgres."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.field.side import answer, plain_database
from benchmarks.field.workloads import SLOTS
from benchmarks.shapes import Graph


class Worths(TypedDict):
    """What each node is worth, as they end."""

    worth: Annotated[dict[str, int], operator.or_]


class Fan(TypedDict):
    """The values of a fan, as they end."""

    source: int
    parts: Annotated[list[int], operator.add]
    sink: int


def node_of(name: str, needed: list[str], seconds: float) -> Callable[[Worths], Any]:
    """Return what a node does."""

    def work(state: Worths) -> Any:
        if seconds:
            time.sleep(seconds)
        return {"worth": {name: 1 + sum(state["worth"][one] for one in needed)}}

    return work


def whole(graph: Graph, saver: PostgresSaver) -> Any:
    """Compile a graph, node for node."""
    builder = StateGraph(Worths)
    inner = {one for needed in graph.needs for one in needed}
    for node, needed in enumerate(graph.needs):
        names = [f"n{one}" for one in needed]
        builder.add_node(f"n{node}", node_of(f"n{node}", names, graph.seconds[node]))
        builder.add_edge(names or START, f"n{node}")
        if node not in inner:
            builder.add_edge(f"n{node}", END)
    return builder.compile(checkpointer=saver)


def part(state: dict[str, Any]) -> Any:
    """Be a part of a fan."""
    if state["seconds"]:
        time.sleep(state["seconds"])
    return {"parts": [1 + state["source"]]}


def fan(level: list[float], saver: PostgresSaver) -> Any:
    """Compile a fan by the library's own way to spread."""

    def spread(state: Fan) -> list[Send]:
        return [Send("part", {**state, "seconds": seconds}) for seconds in level]

    builder = StateGraph(Fan)
    builder.add_node("source", lambda _: {"source": 1})
    builder.add_node("part", part)
    builder.add_node("sink", lambda state: {"sink": 1 + sum(state["parts"])})
    builder.add_edge(START, "source")
    builder.add_conditional_edges("source", spread, ["part"])
    builder.add_edge("part", "sink")
    builder.add_edge("sink", END)
    return builder.compile(checkpointer=saver)


def main() -> None:
    """Be a side."""
    compiled: dict[int, Any] = {}
    with PostgresSaver.from_conn_string(plain_database()) as saver:
        saver.setup()

        def run(graph: Graph) -> float:
            levels = [[graph.seconds[node] for node in level] for level in graph.levels()]
            is_fan = len(levels) == 3 and len(levels[0]) == len(levels[2]) == 1
            if id(graph) not in compiled:
                compiled[id(graph)] = fan(levels[1], saver) if is_fan else whole(graph, saver)
            config = {
                "configurable": {"thread_id": uuid4().hex},
                "recursion_limit": 1000,
                "max_concurrency": SLOTS,
            }
            if is_fan:
                begun: dict[str, Any] = {"source": 0, "parts": [], "sink": 0}
                return float(compiled[id(graph)].invoke(begun, config)["sink"])
            worth = compiled[id(graph)].invoke({"worth": {}}, config)["worth"]
            inner = {one for needed in graph.needs for one in needed}
            return float(sum(worth[f"n{node}"] for node in range(len(worth)) if node not in inner))

        answer(run)


if __name__ == "__main__":
    main()
