"""The console of this process, with a worker and a model server that takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from playwright.sync_api import Page, expect

from agents.ollama import OllamaModel
from celery_app.client import Client
from tests.api.serving import Served
from tests.faults.model_faults import FaultyModel
from tests.worker_process import WorkerProcess

#: Asks, by a choice, by JSON and by a word.
ASKING = """
name: mill-tour
inputs: {guests: {default: 12}}
steps:
  - {id: price, task: chore.echo, args: [80]}
  - id: choose
    approval: {question: "Which day for {{ inputs.guests }} guests?", options: [Monday, Friday]}
  - id: menu
    needs: [price]
    approval: {question: "How many of each dish?", answer: {type: object, required: [soup]}}
  - {id: book, task: chore.echo, args: ["{{ steps.choose.output.answer }}"], needs: [choose, menu]}
"""


@dataclass(frozen=True)
class Site:
    """Where the console is, and who hands in work behind its back."""

    url: str
    client: Client
    model: FaultyModel
    served: Served

    @property
    def model_door(self) -> OllamaModel:
        """The way to the model server for this process, whose settings name another one."""
        return OllamaModel([self.model.address])


@contextmanager
def site(client: Client, folder: Path) -> Iterator[Site]:
    """Serve the console while a worker works."""
    # The model that stands in for one quotes nobody.
    roster = Path("config/agents.yaml").read_text(encoding="utf-8")
    (folder / "agents.yaml").write_text(roster.replace("quotes: true", "quotes: false"))
    with (
        FaultyModel(words=12, pause=0.1) as model,
        WorkerProcess(
            "-P",
            "threads",
            AI_AGENT__COMPONENTS__OLLAMA__HOSTS=f"[{model.address}]",
            AI_AGENT__AGENTS_FILE=str(folder / "agents.yaml"),
        ) as worker,
        Served() as served,
    ):
        yield Site(served.url, client, model, served)
        worker.kill()


def step(task: str, *args: Any, needs: tuple[dict[str, Any], ...] = (), title: str = "") -> Any:
    """Return a task of a graph."""
    metadata = {"title": title} if title else {}
    needed = [one["id"] for one in needs]
    return {
        "id": str(uuid4()), "task": task, "args": list(args), "dependencies": needed,
        "metadata": metadata,
    }  # fmt: skip


def diamond(seconds: float) -> list[dict[str, Any]]:
    """Return four tasks: one, two side by side, one that brings them together."""
    first = step("chore.sleep", seconds, title="Measure the mill")
    left = step("chore.sleep", seconds, needs=(first,), title="Draw the wheel")
    right = step("chore.sleep", 2 * seconds, needs=(first,), title="Draw the race")
    last = step("chore.sleep", seconds, needs=(left, right), title="Bind the drawings")
    return [first, left, right, last]


def state_of(page: Page, title: str) -> str:
    """Return the state that the table says a task is in."""
    badge = page.locator(f".state[data-of='{title}']").first
    return badge.get_attribute("data-state") or ""


def hand_in(page: Page, url: str, description: str, **chosen: str) -> None:
    """Fill in the form and send it."""
    page.goto(url)
    if not page.locator("#description").is_visible():
        page.locator("#hand-in > summary").click()
    page.get_by_label("What is to be done").fill(description)
    for label, value in chosen.items():
        page.get_by_label(label.capitalize(), exact=True).select_option(value)
    page.get_by_role("button", name="Hand in").click()
    expect(page.locator("h1")).to_be_visible()
