"""Jobs that are planned: when the first subtask runs, and what the graph of a plan saves.

    python -m benchmarks.plans [--model scripted|embedded] [--rounds 3]

Two workers take turns: one begins a step when the plan is whole, the other one (`speculative`) as soon as
the model has said it. Each round has a job planned and done, and then does the steps of its plan again: as
the graph that they are, and one after the other, as an agent does them that calls one tool at a time. The
scripted model speaks as fast as a hosted one; it plans a step for each of eight parts and one that joins
them. The figures are kept in build/bench/plans-MODEL.json.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks import graphs, streaming
from benchmarks.kept import FOLDER, ROOT, keep
from celery_app.testing.model import StandIn, Unanswered
from workflows.task import TaskInput

if TYPE_CHECKING:
    from celery_app.client import Client

FIRST_TOKEN = 0.3
TOKENS_A_SECOND = 60
DOCUMENT = ROOT / "config" / "examples" / "valley-library.md"
TITLES = {
    "north": "Describe the north",
    "south": "Portray the south",
    "harbour": "Picture the harbour",
    "market": "Sketch the market",
    "school": "Explain the school",
    "station": "Present the station",
    "castle": "Review the castle",
    "museum": "Explore the museum",
}
WAYS = {"whole plan first": False, "steps begin at once": True}
JOBS = {
    "scripted": f"Describe these parts of the town in one guide: {', '.join(TITLES)}",
    "embedded": "Summarise the parts of this document and bring them together",
}


class Paced:
    """A model of rules that takes its time: a pause before the first token, then so many a second.

    Attributes:
        readable: The moment at which the first step of its last plan was said (`time.perf_counter`).
    """

    def __init__(self) -> None:
        self.readable = 0.0

    def answer(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield a plan where one is asked for, and a text otherwise."""
        if path != "/api/chat":
            raise Unanswered(f"this model only chats; it is asked for {path}")
        schema = body.get("format") or {}
        text = self._plan() if "1" in schema.get("properties", {}) else "A quiet place. " * 20
        tokens = re.findall(r".{1,4}", text, re.DOTALL)
        time.sleep(FIRST_TOKEN)
        second = text.find('"2":')
        for number, token in enumerate(tokens):
            if 4 * number <= second < 4 * (number + 1):
                self.readable = time.perf_counter()
            yield _line({"message": {"role": "assistant", "content": token}, "done": False})
            time.sleep(1 / TOKENS_A_SECOND)
        counts = {"prompt_eval_count": 200, "eval_count": len(tokens)}
        end = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
        yield _line({**end, **counts})

    def _plan(self) -> str:
        plan: dict[str, Any] = {}
        for number, (place, title) in enumerate(TITLES.items(), start=1):
            plan[str(number)] = {"action": title, "agent": "writer", "inputs": [place]}
            if number > 1:
                plan[str(number)]["needs"] = []
        needs = list(range(1, len(TITLES) + 1))
        title = "Compare everything and write one guide"
        plan[str(len(TITLES) + 1)] = {
            "action": title,
            "agent": "writer",
            "inputs": [],
            "needs": needs,
        }
        return json.dumps(plan)

    def close(self) -> None:
        """Nothing is held."""


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


@contextmanager
def asked(model: str) -> Iterator[tuple[dict[str, str], Paced | None]]:
    """Start the model; give what a worker must know of it."""
    if model == "embedded":
        yield {}, None
        return
    paced = Paced()
    with StandIn(paced, [streaming.MODEL], ("completion",)) as server:
        ollama = "AI_AGENT__COMPONENTS__OLLAMA__"
        hosts = {f"{ollama}HOSTS": f"[{server.address}]", f"{ollama}SLOTS": str(2 * len(TITLES))}
        yield hosts, paced


def roster(model: str, folder: Path, *, speculative: bool) -> Path:
    """Write who works: the usual agents of the model, with such a planner."""
    usual = Path("agents/roster.yaml").read_text(encoding="utf-8")
    entries = yaml.safe_load(streaming.ROSTER if model == "scripted" else usual)
    entries["agents"]["planner"]["speculative"] = speculative
    path = folder / f"{speculative}.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


def planned(client: Client, paced: Paced | None) -> tuple[str, dict[str, float]]:
    """Have a job planned and done; return its id, and when what of it was there."""
    inputs: list[Any] = [DOCUMENT]
    if paced:
        inputs = [TaskInput(name=place, text=f"The {place} is quiet.") for place in TITLES]
    begun = time.perf_counter()
    handle = client.submit(JOBS["scripted" if paced else "embedded"], inputs=inputs, plan=True)
    root, at = str(handle.id), dict[str, float]()
    for event in handle.events(follow=True):
        now = time.perf_counter() - begun
        if event["kind"] == "expanded":
            at.setdefault("plan whole", now)
        elif event["kind"] == "started" and event["task_id"] != root:
            at.setdefault("first subtask runs", now)
    handle.result(timeout=60)
    plan = handle.tree()["plan"]
    assert plan["source"] == "model", plan
    at["job done"] = time.perf_counter() - begun
    if paced:
        at = {"first step readable": paced.readable - begun, **at}
    return root, at


def again(client: Client, root: str, *, one_by_one: bool) -> float:
    """Do the steps of a job's plan again; return the seconds."""
    from celery_app.celery import store

    _, *steps = store.tree(root)
    ids = {step.id: str(uuid4()) for step in steps}
    tasks: list[dict[str, Any]] = []
    for step in steps:
        kept = {key: step.spec[key] for key in ("description", "inputs") if step.spec.get(key)}
        needs = [ids[one] for one in step.dependencies if one in ids]
        if one_by_one and tasks:
            needs = list(dict.fromkeys([*needs, tasks[-1]["id"]]))
        tasks.append({**kept, "id": ids[step.id], "agent": step.agent, "dependencies": needs})
    begun = time.perf_counter()
    assert len(client.submit_graph(tasks).result(timeout=600)) == len(steps)
    return time.perf_counter() - begun


def measure(
    client: Client, paced: Paced | None, rounds: int, *, and_again: bool
) -> list[dict[str, float]]:
    """Return what each round took, by name."""
    found = []
    # The worker and its model are there before the clock runs.
    client.submit("Say hello", plan=False).result(timeout=120)
    for number in range(rounds):
        root, at = planned(client, paced)
        found.append(at)
        if not and_again:
            continue
        for one_by_one in (True, False) if number % 2 else (False, True):
            name = "steps one after the other" if one_by_one else "steps as a graph"
            at[name] = again(client, root, one_by_one=one_by_one)
    return found


def told(model: str, ways: Mapping[str, list[dict[str, float]]]) -> Table:
    """Return the medians and the spread of each way as a table."""
    table = Table("", *ways, title=f"A planned job on the {model} model, seconds")
    for name in next(iter(ways.values()))[0]:
        values = [[at[name] for at in found if name in at] for found in ways.values()]
        cells = (
            f"{statistics.median(each):.2f} ({min(each):.2f}–{max(each):.2f})" if each else "–"
            for each in values
        )
        table.add_row(name, *cells)
    return table


@click.command(help=__doc__)
@click.option("--model", type=click.Choice(list(JOBS)), default="scripted", show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often it is done.")
@click.option("--into", default=FOLDER, type=click.Path(path_type=Path), help="Where to keep it.")
def main(model: str, rounds: int, into: Path) -> None:
    ways: dict[str, list[dict[str, float]]] = {}
    with (
        graphs.system() as client,
        asked(model) as (environment, paced),
        TemporaryDirectory() as temp,
    ):
        for way, speculative in WAYS.items():
            path = roster(model, Path(temp), speculative=speculative)
            with graphs.worker({**environment, "AI_AGENT__AGENTS_FILE": str(path)}):
                ways[way] = measure(client, paced, rounds, and_again=not speculative)
    kept_at = keep(f"plans-{model}", {"ways": ways}, into)
    Console().print(told(model, ways))
    click.echo(f"all figures: {kept_at}")


if __name__ == "__main__":
    main()
