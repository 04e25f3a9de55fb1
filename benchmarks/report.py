"""docs/benchmarks.md and its pictures, made from the figures that were kept in build/bench.

    python -m benchmarks.report [--from FOLDER] [--into docs]

Invariant: nothing in the document is written by hand; what was not measured is left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.field.figures import Figure, bound_of, figures_of
from benchmarks.field.peers import OURS, PEERS, REFERENCE
from benchmarks.field.workloads import SLOTS, WORKLOADS
from benchmarks.graphs import SLOTS as GRAPH_SLOTS
from benchmarks.kept import FOLDER, ROOT, kept
from benchmarks.pictures import draw_bars, draw_lines

Kept = Mapping[str, Any]

HEAD = """\
# Measured

This page is made by `make bench-full` (`make bench` repeats the core of it) from figures of one machine.
Nothing in it is written by hand. Seconds are medians; the least and the most stand behind them.
"""
FIELD = f"""\
## Beside other systems

Each system was installed by the script into an environment of its own and measured in turns with this one
and with the reference: Celery on Redis, where each task sends the next one by hand. In a round everybody
does the same graph; every answer is checked. All of them use one PostgreSQL (fsync on) and one Valkey
(append-only file, written each second); each runs {SLOTS} tasks at once, in one worker or in its own process.
Tasks do nothing, or sleep where it says so. "x" is the median of the ratios to the reference in the same
round: below 1 is quicker.

Systems in process (LangGraph, DBOS with steps) send nothing through a broker and use one process: a chain of
tasks there is a chain of function calls. What a system keeps is what would still be there if every process
died and the broker forgot everything. celery-director, Dramatiq and Celery itself have no graphs without
barriers: a layer waits there for the whole layer before it.
"""
PLANS = {
    "scripted": "a scripted model that speaks as fast as a hosted one (60 tokens a second)",
    "embedded": "the embedded model",
}
GRAPHS = """\
One graph of layers, each task with three needs, run by one worker (16 threads). The small one comes first
and last. `result` is reading the whole result again, once it is there.
"""
MAKESPAN = f"""\
## Near the best schedule

Graphs of tasks that do nothing for as long as a row says, on one worker with {GRAPH_SLOTS} threads. The bound
is what no schedule of this kind can beat: the longest way through the graph, or starting whatever is
ready first, at no cost. `with barriers` is what a system would take at best that waits for each layer
before it begins the next.
"""
HISTORY = """\
Finished tasks in the database, in runs of a hundred, and what it then takes to look and to begin:
"""


def machine_of(found: Kept) -> str:
    """Return in words when and on what something was measured."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"*{found['date']}; {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB, {machine['system']}; load in the quarter of an hour before: "
        f"{machine['load_before']}; {versions}.*\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [head, ["---" if name in {"", "keeps"} else "--:" for name in head], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def field_section(found: Kept, pictures: Path) -> Iterator[str]:
    """Yield the comparison with others."""
    figures = figures_of(found["parts"])
    sides = [side for side in PEERS if any(side in by for by in figures.values())]
    yield FIELD
    yield machine_of(found)
    head = ["", "keeps", *(WORKLOADS[workload].title for workload in figures)]
    rows = [
        [PEERS[side].title, PEERS[side].keeps]
        + [_seconds(figures[workload].get(side)) for workload in figures]
        for side in sides
    ]
    yield table(head, rows)
    yield f"Medians of {found['rounds']} turns (the two that are measured with everybody: of more).\n"
    ratios = [
        [PEERS[side].title, *(_ours(figures[workload].get(side)) for workload in figures)]
        for side in sides
        if side != OURS
    ]
    yield "How many times as long as this system each took in the same round:\n"
    yield table(["", *head[2:]], ratios)
    yield "Milliseconds of processors for one task, over all processes and both servers:\n"
    costs = [
        [PEERS[side].title, *(_processors(figures[workload].get(side)) for workload in figures)]
        for side in sides
    ]
    yield table(["", *head[2:]], costs)
    bounds = {name: bound_of(name) for name in figures if bound_of(name)}
    for name, bound in bounds.items():
        told = ", ".join(
            f"{PEERS[side].title} {figures[name][side].seconds / bound:.2f}"
            for side in sides
            if side in figures[name]
        )
        title = WORKLOADS[name].title
        yield f"*{title}*, over the best schedule of {SLOTS} slots ({bound:.3f} s): {told}.\n"
    needs = sorted({need for side in sides for need in PEERS[side].needs})
    yield f"Versions of the others: {', '.join(needs) or 'as above'}.\n"
    for side, why in found.get("absent", {}).items():
        yield f"{PEERS[side].title} is not in it: {why}.\n"
    draw_bars(
        pictures / "field.svg",
        "Times the reference's (log scale)",
        [WORKLOADS[workload].title for workload in figures],
        {
            PEERS[side].title: [
                figures[workload][side].reference if side in figures[workload] else None
                for workload in figures
            ]
            for side in sides
            if side != REFERENCE
        },
    )
    yield "![Each system's seconds over the reference's](benchmarks/field.svg)\n"


def _seconds(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    low, high = _plain(figure.low), _plain(figure.high)
    return f"{_plain(figure.seconds)} s ({low}–{high}) x{figure.reference:.2f}"


def _ours(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.ours:.2f}"


def _processors(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.processors:.1f}"


def _plain(seconds: float) -> str:
    return f"{seconds:.4f}" if seconds < 0.1 else f"{seconds:.3g}"


def plans_section(model: str, found: Kept) -> Iterator[str]:
    """Yield what planning and its graphs take on a model."""
    ways: dict[str, list[dict[str, float]]] = found["ways"]
    first = next(iter(ways.values()))
    yield f"### On {PLANS[model]}\n"
    yield machine_of(found)
    rows = [[name, *(_spread(name, rounds) for rounds in ways.values())] for name in first[0]]
    yield table(["", *ways], rows)
    yield f"Medians of {len(first)} rounds.\n"
    saved = statistics.median(
        one["steps one after the other"] / one["steps as a graph"] for one in first
    )
    yield f"The graph is {saved:.2f} times as quick as its steps one after the other.\n"


def _spread(name: str, rounds: Sequence[Mapping[str, float]]) -> str:
    values = [one[name] for one in rounds if name in one]
    if not values:
        return "–"
    return f"{statistics.median(values):.2f} s ({min(values):.2f}–{max(values):.2f})"


def makespan_section(found: Kept) -> Iterator[str]:
    """Yield how near graphs come to their best schedule."""
    yield MAKESPAN
    yield machine_of(found)
    rows: list[dict[str, float | str]] = found["rows"]
    cells = [
        [cell if isinstance(cell, str) else f"{cell:.4g}" for cell in row.values()] for row in rows
    ]
    yield table(["", *list(rows[0])[1:]], cells)
    yield "Medians over the graphs, the least and the most.\n"


def growth_section(found: Kept, pictures: Path) -> Iterator[str]:
    """Yield what grows with graphs and histories."""
    yield "## Growth\n"
    yield machine_of(found)
    graphs, histories = found["graphs"], found["histories"]
    if graphs:
        yield GRAPHS
        yield _figures(graphs)
        by_size = sorted(graphs[:-1], key=lambda row: row["tasks"])
        names = ("whole ms a task", "CPU ms a task", "submit ms a task")
        draw_lines(pictures / "graphs.svg", "Tasks in one graph", "ms a task", by_size, names)
        yield "![Cost of a task by the size of its graph](benchmarks/graphs.svg)\n"
    if histories:
        yield HISTORY
        yield _figures(histories)
        looks = ("status ms", "list ms", "list failed ms", "submit ms", "one task ms")
        draw_lines(pictures / "history.svg", "Tasks in the history", "ms", histories, looks)
        yield "![Looking and beginning, by the length of the history](benchmarks/history.svg)\n"


def _figures(rows: Sequence[Mapping[str, float]]) -> str:
    cells = [
        [
            f"{row['tasks']:,.0f}",
            *(f"{value:,.4g}" for name, value in row.items() if name != "tasks"),
        ]
        for row in rows
    ]
    return table(list(rows[0]), cells)


def document(source: Path, pictures: Path) -> str:
    """Return the whole page, and draw its pictures."""
    parts = [HEAD]
    if (field := kept("field", source)) is not None:
        parts += field_section(field, pictures)
    plans = {model: kept(f"plans-{model}", source) for model in PLANS}
    if any(plans.values()):
        parts.append("## Planned jobs\n")
        parts.append(
            "When the first subtask of a planned job runs: if steps wait for the whole plan, and if they "
            "begin as soon as they have been said (`speculative`); and what its graph saves beside its "
            "steps one after the other, as an agent does them that calls one tool at a time.\n"
        )
    for model, found in plans.items():
        if found is not None:
            parts += plans_section(model, found)
    if (makespan := kept("makespan", source)) is not None:
        parts += makespan_section(makespan)
    if (growth := kept("growth", source)) is not None:
        parts += growth_section(growth, pictures)
    return "\n".join(parts)


@click.command(help=__doc__)
@click.option("--from", "source", default=FOLDER, type=click.Path(path_type=Path))
@click.option("--into", default=ROOT / "docs", type=click.Path(path_type=Path))
def main(source: Path, into: Path) -> None:
    pictures = into / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    page = into / "benchmarks.md"
    page.write_text(document(source, pictures), encoding="utf-8")
    click.echo(f"written: {page}")


if __name__ == "__main__":
    main()
